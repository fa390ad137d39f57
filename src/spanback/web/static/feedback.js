// What each function does is said in feedback.d.ts.

const QUEUED = 'spanback:q:';
const VOTED = 'spanback:v:';
const LIMIT = 200; // the most that is kept of each kind
const TIMEOUT_MS = 20_000;
const LATE_MS = 5_000;
const KEEPALIVE_BYTES = 60_000; // browsers refuse more
const OUTLIVES = 'keepalive' in Request.prototype; // whether requests outlive their page

// Score and weight of what people do, as in `spanback.signals`.
const IMPLICIT = {
  copied: [1, 0.4], selected: [0.5, 0.3], read: [0.5, 0.3], regenerated: [-1, 0.5],
  saved: [1, 0.5], shared: [1, 0.6], dismissed: [-1, 0.3], abandoned: [-0.5, 0.3],
};

const settings = {
  url: import.meta.url.replace(/[^/]*$/, ''),
  storage: true,
  maxAgeMs: 7 * 86_400_000,
};
const page = globalThis.document;

export function configure(choices) {
  Object.assign(settings, choices);
  flush();
}

export function rate(token, signal, url) {
  const { feedback_id, ...body } = { name: 'user_feedback', ...signal };
  const id = feedback_id ?? voted(token, body.name)?.id ?? newId();
  write(voteKey(token, body.name), { id, body });
  enqueue({ id, token, url, body, name: body.name });
  return id;
}

export function correct(token, improvement, more, url) {
  return rate(token, { name: 'edited', score: -0.5, weight: 0.4, type: 'implicit', improvement, ...more }, url);
}

export function retract(token, name = 'user_feedback', url) {
  const { id, body } = voted(token, name) ?? {};
  if (!body) return;
  write(voteKey(token, name), { id });
  enqueue({ id, token, url, name });
  return id;
}

export const given = (token, name = 'user_feedback') => voted(token, name)?.body;

function voteKey(token, name) {
  let [, claims, rated] = token.split('.');
  try {
    rated = JSON.parse(atob(claims.replace(/-/g, '+').replace(/_/g, '/'))).t; // the span: later tokens have it too
  } catch {}
  return `${VOTED}${rated}:${name}`;
}

const voted = (token, name) => read(voteKey(token, name));
const newId = () => [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(16)).join('-');

const memory = {}; // where localStorage is full, forbidden or not wanted

function disk() {
  try {
    if (settings.storage) return localStorage;
  } catch {}
  return memory;
}

function read(key) {
  try {
    return JSON.parse(memory[key] ?? disk()[key]);
  } catch {}
}

function write(key, value) {
  const text = JSON.stringify({ at: Date.now(), ...value });
  delete memory[key];
  try {
    disk()[key] = text;
  } catch {
    memory[key] = text;
  }
  const kept = keys(key.slice(0, QUEUED.length));
  if (kept.length > LIMIT) forget(kept.sort((one, other) => read(one)?.at - read(other)?.at)[0]);
}

function remove(key) {
  delete memory[key];
  delete disk()[key];
}

function forget(key) {
  if (key.startsWith(QUEUED)) tell('expired', read(key) ?? {});
  remove(key);
}

const keys = (kind) => [...new Set([memory, disk()].flatMap(Object.keys))].filter((key) => key.startsWith(kind));
const isOld = (key) => !(read(key)?.at + settings.maxAgeMs > Date.now());

const inFlight = new Map(); // id to mark
let draining;
let timer;

function enqueue(item) {
  const url = (item.url ?? settings.url).replace(/\/*$/, '/');
  write(`${QUEUED}${item.id}`, { ...item, url, next: 0, tries: 0, mark: newId() });
  flush();
}

function flush() {
  // One tab at a time.
  draining ??= Promise.resolve(navigator.locks?.request(QUEUED, { ifAvailable: true }, drain) ?? drain())
    .catch(drain)
    .finally(() => {
      draining = null;
      const next = waiting()[0]?.next;
      clearTimeout(timer);
      if (next >= 0 && navigator.onLine) timer = setTimeout(flush, Math.min(next - Date.now(), 1e9));
    });
  return draining;
}

async function drain(lock) {
  if (lock === null) return new Promise((done) => setTimeout(done, 1_000));
  for (let item; navigator.onLine && (item = waiting()[0])?.next <= Date.now(); ) await send(item);
}

function waiting(isFree = (item) => !inFlight.has(item.id)) {
  keys(QUEUED).filter(isOld).forEach(forget);
  return keys(QUEUED).map(read).filter(isFree).sort((one, other) => one.next - other.next || one.at - other.at);
}

async function send(item, isLast) {
  inFlight.set(item.id, item.mark);
  const response = await request(item, isLast).catch(() => null);
  const answer = await response?.json().catch(() => null);
  if (inFlight.get(item.id) === item.mark) inFlight.delete(item.id);
  const status = response?.status ?? 0;
  const isLatest = read(`${QUEUED}${item.id}`)?.mark === item.mark;
  if (response?.ok || (status >= 400 && status < 500 && ![408, 425, 429].includes(status))) {
    if (isLatest) remove(`${QUEUED}${item.id}`);
    if (isLatest && !response.ok && item.body) remove(voteKey(item.token, item.name));
    tell(response.ok ? 'recorded' : 'refused', item, status, answer);
  } else if (isLatest) {
    const after = response?.headers.get('Retry-After') ?? 0;
    const asked = after * 1_000 || Date.parse(after) - Date.now() || 0;
    const delay = Math.min(60_000, 1_000 * 2 ** item.tries) * (0.5 + Math.random() / 2);
    const next = Date.now() + Math.max(asked, delay);
    write(`${QUEUED}${item.id}`, { ...item, tries: item.tries + 1, isAsked: asked > 0, next });
  }
}

async function request({ id, token, url, body, name, at }, isLast) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  if (!body) {
    const headers = { Authorization: `Bearer ${token}` };
    return fetch(`${url}${encodeURIComponent(id)}?name=${name}`, { method: 'DELETE', headers, keepalive: true, signal });
  }
  const late = Date.now() - at > LATE_MS && { observed_at: new Date(at).toISOString() };
  const text = JSON.stringify({ ...late, ...body, feedback_id: id, token });
  // Text needs no preflight, which would not outlive the page.
  const post = { method: 'POST', body: text, keepalive: new Blob([text]).size < KEEPALIVE_BYTES, signal };
  const beacon = () => isLast && void navigator.sendBeacon?.(url, text); // no answer: it is sent again later
  return OUTLIVES || !isLast ? fetch(url, post).catch(beacon) : beacon();
}

function tell(how, { id, body, name }, status, answer) {
  const detail = { feedbackId: id, name, isRetracted: !body, status, answer };
  page?.dispatchEvent(new CustomEvent(`feedback-${how}`, { detail }));
}

const isDue = (item) => !item.isAsked || item.next <= Date.now();

function hurry() {
  waiting().filter(isDue).forEach((item) => write(`${QUEUED}${item.id}`, { ...item, next: 0 }));
  flush();
}

function leave() {
  const left = waiting((item) => !OUTLIVES || inFlight.get(item.id) !== item.mark).filter(isDue);
  if (navigator.onLine) left.forEach((item) => send(item, true));
}

export function observe(element, token, { dwellMs = 10_000, selectMs = 700, url } = {}) {
  const stopping = new AbortController();
  const on = (target, type, listener) => target.addEventListener(type, listener, { signal: stopping.signal });
  const signal = (name) => {
    const [score, weight] = IMPLICIT[name] ?? [];
    if (weight && !voted(token, name)) rate(token, { name, score, weight, type: 'implicit' }, url);
  };

  on(element, 'copy', () => signal('copied'));
  on(element, 'click', (event) => signal(event.target.closest('[data-signal]')?.dataset.signal));

  let selecting;
  on(page, 'selectionchange', () => {
    const selection = page.getSelection();
    clearTimeout(selecting);
    if (!selection.isCollapsed && element.contains(selection.anchorNode)) {
      selecting = setTimeout(signal, selectMs, 'selected');
    }
  });

  let isSeen;
  let since = 0;
  let total = 0;
  let reading;
  const look = () => {
    const now = performance.now();
    if (since) total += now - since;
    since = isSeen && !page.hidden ? now : 0;
    clearTimeout(reading);
    if (total >= dwellMs) signal('read');
    else if (since) reading = setTimeout(look, dwellMs - total);
  };
  const watch = new IntersectionObserver((entries) => {
    isSeen = entries.at(-1).isIntersecting;
    look();
  });
  watch.observe(element);
  on(page, 'visibilitychange', look);

  const stop = () => {
    stopping.abort();
    watch.disconnect();
    clearTimeout(selecting);
    clearTimeout(reading);
  };
  return { signal, stop };
}

const THUMB = 'M7 11v9H4.5q-1 0-1-1v-7q0-1 1-1zl4-7.5q3 0 2.5 3L13 9h5.5q2.5 0 2 2.5l-1.4 7q-.4 1.5-2 1.5H7';
const STAR = 'M12 3.2l2.7 5.5 6.1.9-4.4 4.3 1 6-5.4-2.8-5.4 2.8 1-6-4.4-4.3 6.1-.9z';
const STYLE = `
:host{display:inline-flex}
button{all:unset;display:grid;place-items:center;cursor:pointer;width:var(--spanback-size,2rem);
height:var(--spanback-size,2rem);border-radius:var(--spanback-radius,.5rem);color:var(--spanback-color,inherit)}
button:hover{background:color-mix(in srgb,currentColor 12%,transparent)}
button:focus-visible{outline:2px solid var(--spanback-focus,currentColor)}
button:disabled{opacity:.4;cursor:default}
.on{color:var(--spanback-accent,#2563eb)}
.on path{fill:currentColor}
svg{width:60%;fill:none;stroke:currentColor;stroke-width:1.75;stroke-linejoin:round}
.down svg{transform:scaleY(-1)}
@media (prefers-reduced-motion:no-preference){button{transition:.15s}button:active{transform:scale(.9)}}
@media (forced-colors:active){.on{outline:2px solid Highlight}}`;
const SVG = 'http://www.w3.org/2000/svg';
const valueOf = (signal) => signal?.rating ?? signal?.score;

class Choices extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ['token'];

  connectedCallback() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: 'open' });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.role = 'group';
    this.ariaLabel ??= this.usual;
    this.buttons = this.choices(this.say).map(([kind, path, label, signal]) => {
      const button = page.createElement('button');
      const [svg, shape] = ['svg', 'path'].map((tag) => page.createElementNS(SVG, tag));
      svg.setAttribute('viewBox', '0 0 24 24');
      shape.setAttribute('d', path);
      svg.append(shape);
      button.append(svg);
      button.ariaLabel = button.title = label;
      button.className = kind;
      button.setAttribute('part', kind);
      button.onclick = () => this.choose({ name: this.name, weight: 0.8, ...signal });
      button.signal = signal;
      return button;
    });
    root.replaceChildren(...this.buttons);
    page.addEventListener('feedback-refused', this);
    this.handleEvent();
  }

  disconnectedCallback() {
    page.removeEventListener('feedback-refused', this);
  }

  attributeChangedCallback() {
    if (this.buttons) this.handleEvent();
  }

  get name() {
    return this.getAttribute('name') ?? this.kind;
  }

  get chosen() {
    return valueOf(given(this.getAttribute('token') ?? '', this.name));
  }

  choose(signal) {
    const [token, url] = [this.getAttribute('token'), this.getAttribute('url') ?? undefined];
    const isCleared = this.chosen === valueOf(signal);
    const feedbackId = isCleared ? retract(token, this.name, url) : rate(token, signal, url);
    this.handleEvent();
    const detail = { feedbackId, name: this.name, signal: isCleared ? null : signal };
    this.dispatchEvent(new CustomEvent('feedback', { bubbles: true, composed: true, detail }));
  }

  handleEvent() {
    for (const button of this.buttons) {
      const value = valueOf(button.signal);
      button.disabled = !this.getAttribute('token');
      button.ariaPressed = value === this.chosen;
      button.classList.toggle('on', value === this.chosen || (!!button.signal.scale && value < this.chosen));
    }
  }

  say = (attribute, usual) => this.getAttribute(attribute) ?? usual;
}

class Thumbs extends Choices {
  kind = 'user_thumbs';
  usual = 'Rate this answer';
  choices = (say) => [
    ['up', THUMB, say('up-label', 'Good answer'), { score: 1 }],
    ['down', THUMB, say('down-label', 'Bad answer'), { score: -1 }],
  ];
}

class Stars extends Choices {
  kind = 'stars';
  usual = 'Stars for this answer';
  choices = (say) =>
    [1, 2, 3, 4, 5].map((rating) => [
      'star', STAR, say('star-label', '{n} of 5 stars').replace('{n}', rating), { rating, scale: [1, 5] },
    ]);
}

const put = (tag) => (element, token, attributes) => {
  const made = page.createElement(tag);
  for (const [name, value] of Object.entries({ ...attributes, token })) made.setAttribute(name, value);
  element.replaceChildren(made);
  return made;
};
export const thumbs = put('feedback-thumbs');
export const stars = put('feedback-stars');

if (page) {
  if (!customElements.get('feedback-thumbs')) {
    customElements.define('feedback-thumbs', Thumbs);
    customElements.define('feedback-stars', Stars);
  }
  addEventListener('online', hurry);
  addEventListener('pageshow', hurry);
  addEventListener('pagehide', leave);
  page.addEventListener('visibilitychange', () => (page.hidden ? leave() : hurry()));
  keys(VOTED).filter(isOld).forEach(forget);
  flush();
}
