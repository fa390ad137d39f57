// The side panel: what the telemetry of this app says, read back from its files by the server.

const byId = (id) => document.getElementById(id);
const list = byId('spans');
const seen = new Set();
let named;
let isFirst = true;

/** An element with a class and children. */
export function element(tag, className = '', ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Marks the card of a span, and brings it into sight. */
export function nameSpan(spanId, isShown) {
  named = spanId;
  for (const card of list.children) card.classList.toggle('named', card.dataset.span === named);
  if (isShown) list.querySelector('.named')?.scrollIntoView({ block: 'nearest' });
}

/** Follows the telemetry for as long as the page is open. */
export function follow() {
  const source = new EventSource('/telemetry');
  source.onmessage = ({ data }) => show(JSON.parse(data));
  source.onopen = () => tell('live', true);
  source.onerror = () => tell('reconnecting', false);
}

function tell(text, isOn) {
  byId('live').textContent = text;
  byId('live').classList.toggle('on', isOn);
}

function show({ calls, models, call_count: callCount, signal_count: signalCount }) {
  byId('calls').textContent = callCount;
  byId('signals').textContent = signalCount;
  byId('badge').textContent = signalCount;
  byId('nothing').hidden = callCount > 0;
  // What was stated alone: it is never averaged with what was inferred.
  const stated = calls.flatMap(({ feedback }) => feedback).filter(({ type }) => type === 'explicit');
  const scores = stated.map(({ score }) => score).filter((score) => score !== null);
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  byId('mean').textContent = models.length && scores.length ? signed(mean.toFixed(2)) : '–';
  list.replaceChildren(...calls.reverse().map(card));
  isFirst = false;
}

function card({ call, feedback }) {
  const head = element('div', 'span-head',
    element('div', 'span-name', call.name, element('span', '', duration(call.duration_s))),
    ...attributes(call).map((line) => element('div', 'attributes', line)));
  const made = element('li', call.error_type ? 'span failed' : 'span', head, ...feedback.map(signal));
  made.dataset.span = call.span_id;
  made.classList.toggle('named', call.span_id === named);
  return made;
}

function attributes(call) {
  const lines = [`span ${call.span_id} · trace ${call.trace_id.slice(0, 8)}…`];
  if (call.error_type) lines.push(`error.type ${call.error_type}`);
  const tokens = call.input_tokens === null ? '' : ` · ${call.input_tokens} → ${call.output_tokens} tokens`;
  if (call.prompt_name) lines.push(`prompt ${call.prompt_name} v${call.prompt_version}${tokens}`);
  if (call.conversation_id) lines.push(`conversation ${call.conversation_id}`);
  return lines;
}

function signal(given) {
  const key = `${given.feedback_id} ${given.time}`;
  const details = [`${given.type}, weight ${given.weight}`];
  if (given.label) details.push(given.label);
  if (given.comment) details.push(`“${given.comment}”`);
  if (given.improvement) details.push(`better: “${given.improvement}”`);
  if (given.rejected_span_ids.length) details.push(`over span ${given.rejected_span_ids.join(', ')}`);
  const made = element('div', `signal ${given.sentiment ?? ''}`,
    element('span', 'score', score(given)),
    element('div', '', element('span', 'signal-name', given.name),
      ...details.map((detail) => element('small', '', detail))));
  made.classList.toggle('new', !isFirst && !seen.has(key));
  seen.add(key);
  return made;
}

function score({ score, score_raw: raw, score_max: max, relation }) {
  if (relation === 'chosen') return '▲';
  if (raw !== null && max !== null) return `${raw} of ${max}`;
  return score === null ? '✎' : signed(score);
}

const signed = (number) => `${number > 0 ? '+' : ''}${number}`;
const duration = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`);
