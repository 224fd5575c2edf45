// What the page says, in two languages. Elements with `data-say` follow the switch.

const WORDS = {
  en: {
    title: "GLM at work",
    skip: "Skip to the message",
    new: "New conversation",
    conversations: "Conversations",
    language: "Language",
    menu: "Conversations",
    log: "Conversation",
    message: "What shall I do?",
    send: "Send",
    stop: "Stop",
    delete: "Delete “{title}”",
    ask: "Ask me before writing a file",
    keys: "Enter sends · Shift+Enter: new line · Esc stops",
    welcome: "Watch an agent at work",
    welcomeText:
      "It thinks, looks things up and writes files. Every argument of a tool call appears while the model types it.",
    scripted:
      "No key is set, so a scripted model answers. The tools, the files and the errors are real. With ZAI_API_KEY you talk to GLM.",
    scriptedModel: "scripted",
    thinking: "Thinking",
    thought: "Thoughts",
    thoughtFor: "Thought for {seconds} s",
    typing: "typing · {count} chars",
    typed: "ready",
    running: "running",
    waiting: "waits for you",
    done: "done",
    doneIn: "{seconds} s",
    failed: "failed",
    invalid: "cut off, not run",
    halted: "stopped",
    allow: "Allow",
    refuse: "Do not write",
    question: "May this be written?",
    working: "Working",
    finished: "Done",
    stopped: "Stopped",
    interrupted: "Waits for your answer",
    broken: "Failed",
    seconds: "{seconds} s",
    asked: "{count} model calls",
    askedOnce: "1 model call",
    tokens: "{given} tokens in, {made} out",
    again: "Try again",
    back: "The connection to the page's server is lost. Trying again…",
    lost: "The page's server cannot be reached. Is it running?",
    busy: "The agent is still at work in this conversation.",
    code: "code {code}",
    writing: "Writing {what}",
    write_file: "Write",
    edit_file: "Edit",
    read_file: "Read",
    list_files: "List files",
    check_python: "Check",
    search_docs: "Search",
    old: "before",
    newText: "after",
    suggestions: [
      "Write a small program that adds up my spending by month",
      "What does Python's standard library have for dates?",
      "Show me what happens when the connection breaks",
    ],
  },
  zh: {
    title: "GLM 工作台",
    skip: "跳到输入框",
    new: "新对话",
    conversations: "对话列表",
    language: "语言",
    menu: "对话列表",
    log: "对话内容",
    message: "需要我做什么？",
    send: "发送",
    stop: "停止",
    delete: "删除“{title}”",
    ask: "写文件前先问我",
    keys: "Enter 发送 · Shift+Enter 换行 · Esc 停止",
    welcome: "看智能体如何工作",
    welcomeText: "它会思考、查资料、写文件。工具调用的每个参数都会随着模型的输出逐字显示。",
    scripted: "未设置 API Key，回答来自预先写好的演示；工具、文件和错误都是真实的。设置 ZAI_API_KEY 后即可与 GLM 对话。",
    scriptedModel: "演示",
    thinking: "思考中",
    thought: "思考过程",
    thoughtFor: "思考了 {seconds} 秒",
    typing: "生成中 · {count} 字符",
    typed: "就绪",
    running: "执行中",
    waiting: "等待确认",
    done: "完成",
    doneIn: "{seconds} 秒",
    failed: "失败",
    invalid: "被截断，未执行",
    halted: "已停止",
    allow: "允许",
    refuse: "不写入",
    question: "允许写入吗？",
    working: "工作中",
    finished: "完成",
    stopped: "已停止",
    interrupted: "等待你的回复",
    broken: "出错",
    seconds: "{seconds} 秒",
    asked: "调用模型 {count} 次",
    askedOnce: "调用模型 1 次",
    tokens: "输入 {given} · 输出 {made} token",
    again: "重试",
    back: "与页面服务器的连接已断开，正在重连……",
    lost: "无法连接页面服务器，请确认它正在运行。",
    busy: "这个对话中的智能体仍在工作。",
    code: "错误码 {code}",
    writing: "正在生成“{what}”调用",
    write_file: "写入",
    edit_file: "修改",
    read_file: "读取",
    list_files: "列出文件",
    check_python: "检查",
    search_docs: "搜索",
    old: "修改前",
    newText: "修改后",
    suggestions: ["写一个小程序，按月汇总我的支出", "Python 标准库里有哪些处理日期的工具？", "演示一下连接断开时会怎样"],
  },
};

let language = "en";

export function currentLanguage() {
  return language;
}

/** The words for a key, with `{name}` filled in. An unknown key is given back. */
export function words(key, values = {}) {
  const text = WORDS[language][key] ?? key;
  if (typeof text !== "string") return text;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function number(value, digits = 0) {
  return value.toLocaleString(language === "zh" ? "zh-CN" : "en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** Let an element say something, now and after a switch of the language. */
export function say(element, key, values) {
  element.dataset.say = key;
  element.saidValues = values;
  element.textContent = words(key, resolved(values));
  return element;
}

/** As `say`, for the element's accessible name. */
export function label(element, key, values) {
  element.dataset.sayLabel = key;
  element.labelValues = values;
  element.setAttribute("aria-label", words(key, resolved(values)));
  return element;
}

export function setLanguage(wanted, root = document) {
  language = wanted in WORDS ? wanted : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = words("title");
  for (const element of root.querySelectorAll("[data-say]")) {
    say(element, element.dataset.say, element.saidValues);
  }
  for (const element of root.querySelectorAll("[data-say-label]")) {
    label(element, element.dataset.sayLabel, element.labelValues);
  }
  for (const element of root.querySelectorAll("[data-say-placeholder]")) {
    element.placeholder = words(element.dataset.sayPlaceholder);
  }
}

function resolved(values = {}) {
  const shown = {};
  for (const [name, value] of Object.entries(values)) {
    const digits = name === "seconds" ? 1 : 0;
    shown[name] = typeof value === "number" ? number(value, digits) : value;
  }
  return shown;
}
