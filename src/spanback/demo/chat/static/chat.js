// The chat. What it does with feedback is in `Answer.tools`, `Answer.edit` and `drafts`; the rest is a chat.

import { correct, observe, rate, retract, thumbs, stars } from '/feedback/feedback.js';
import { element, follow, nameSpan } from './panel.js';
import { events } from './stream.js';

const byId = (id) => document.getElementById(id);
const messages = byId('messages');
const composer = byId('composer');
const question = byId('question');
const status = byId('status');
const REASONS = ['incorrect', 'incomplete', 'too long', 'off topic'];

// A conversation outlives a reload: turns of the user, and for each the answers that there are.
let chat = { id: null, turns: [] };

/** One answer on the page: its text while it comes, then what can be said about it. */
class Answer {
  constructor(turn, answer, onAgain) {
    this.turn = turn;
    this.answer = answer;
    this.onAgain = onAgain;
    this.note = element('div', 'answer-note');
    this.text = element('div', 'answer-text');
    this.body = element('article', 'answer', this.note, this.text);
    this.body.ariaLabel = 'Answer';
    this.body.addEventListener('pointerenter', () => nameSpan(this.spanId));
    this.body.addEventListener('focusin', () => nameSpan(this.spanId));
    this.show();
  }

  get spanId() {
    return this.answer.traceparent?.split('-')[2];
  }

  show() {
    const { text, edited, error, prompt, attempt } = this.answer;
    this.text.textContent = error ?? edited ?? text;
    this.body.classList.toggle('failed', Boolean(error));
    const notes = [`prompt version ${prompt}`];
    if (attempt && !this.turn.isCompared) notes.push(`try ${attempt + 1}`);
    if (edited) notes.push('edited by you');
    this.note.textContent = notes.join(' · ');
  }

  async write() {
    const { answer, turn } = this;
    this.body.classList.add('writing');
    this.body.ariaBusy = true;
    const turns = chat.turns.slice(0, chat.turns.indexOf(turn)).flatMap(said);
    const asked = { turns: [...turns, { role: 'user', content: turn.question }], conversation_id: chat.id };
    try {
      for await (const [name, value] of events('/chat', { ...asked, prompt_version: answer.prompt, attempt: answer.attempt })) {
        if (name === 'feedback') {
          chat.id = value.conversation_id;
          Object.assign(answer, { token: value.token, traceparent: value.traceparent });
        } else if (name === 'text') answer.text += value;
        else if (name === 'error') answer.error = value;
        this.show();
        scrollDown();
      }
    } catch (error) {
      answer.error = `The answer was cut off. ${error.message}`;
    }
    this.body.classList.remove('writing');
    this.body.ariaBusy = false;
    this.show();
    save();
    status.textContent = answer.error ?? `Answer: ${answer.text}`;
  }

  /** Everything that can be said about the answer. */
  tools() {
    const { token, error } = this.answer;
    if (!token || error) return;
    const copy = button('Copy', () => this.copy());
    copy.dataset.signal = 'copied';
    const again = button('Regenerate', () => this.onAgain());
    again.dataset.signal = 'regenerated';
    const edit = button('Edit', () => this.edit(edit));
    const where = element('span', 'where', `span ${this.spanId.slice(0, 8)}`);
    const [thumbsHere, starsHere] = [element('span'), element('span')];
    const divider = element('span', 'divider');
    const actions = element('span', 'actions', copy, again, edit);
    const bar = element('div', 'tools', thumbsHere, divider, starsHere, divider.cloneNode(), actions, where);
    thumbs(thumbsHere, token).addEventListener('feedback', ({ detail }) => this.ask(detail.signal));
    stars(starsHere, token);
    this.reasons = element('div', 'reasons');
    this.reasons.hidden = true;
    this.body.append(bar, this.reasons);
    observe(this.body, token); // copied, selected, read, and the buttons with data-signal
  }

  /** A thumb down may say why: the same signal again, with a label. */
  ask(signal) {
    this.reasons.hidden = signal?.score !== -1;
    const choices = REASONS.map((label) => {
      const choice = button(label, () => {
        rate(this.answer.token, { ...signal, label });
        for (const one of choices) one.ariaPressed = one === choice;
      });
      choice.ariaPressed = false;
      return choice;
    });
    this.reasons.replaceChildren('What was wrong?', ...choices);
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text.textContent);
      status.textContent = 'Copied.';
    } catch {
      status.textContent = 'The browser did not allow copying.';
    }
  }

  /** The answer as the user would have it: a correction. */
  edit(opener) {
    const area = element('textarea');
    area.value = this.text.textContent;
    area.ariaLabel = 'Your version of the answer';
    const close = () => {
      area.remove();
      bar.remove();
      this.text.hidden = false;
      opener.disabled = false;
      opener.focus();
    };
    const keep = button('Save', () => {
      if (area.value.trim() && area.value !== this.text.textContent) {
        this.answer.edited = area.value.trim();
        correct(this.answer.token, this.answer.edited);
        save();
      }
      close();
      this.show();
    });
    keep.className = 'save';
    const bar = element('div', 'tools', keep, button('Cancel', close));
    area.addEventListener('keydown', (event) => event.key === 'Escape' && close());
    this.text.after(area, bar);
    this.text.hidden = true;
    opener.disabled = true;
    area.focus();
  }
}

const said = ({ question: content, answers, chosen }) => {
  const answer = answers[chosen ?? answers.length - 1];
  const text = answer?.edited ?? answer?.text;
  return text ? [{ role: 'user', content }, { role: 'assistant', content: text }] : [];
};

/** A turn on the page: the question, and its answers beneath. */
async function draw(turn, isNew) {
  byId('welcome').hidden = true;
  messages.append(element('div', 'asked', turn.question));
  if (turn.isCompared) await drafts(turn, isNew);
  else for (const answer of turn.answers) await single(turn, answer, isNew);
}

async function single(turn, answer, isNew) {
  const shown = new Answer(turn, answer, () => again(turn));
  messages.append(shown.body);
  scrollDown();
  if (isNew) await shown.write();
  shown.tools();
  scrollDown();
}

async function again(turn) {
  const answer = fresh(byId('prompt').value, turn.answers.length);
  turn.answers.push(answer);
  await busy(() => single(turn, answer, true));
}

/** Which is better? Two answers at once, and a preference for one of them. */
async function drafts(turn, isNew) {
  const shown = turn.answers.map((answer) => new Answer(turn, answer, () => again(turn)));
  messages.append(element('div', 'drafts', ...shown.map(({ body }) => body)));
  scrollDown();
  if (isNew) await Promise.all(shown.map((one) => one.write()));
  if (turn.answers.some(({ error, token }) => error || !token)) return;
  const buttons = shown.map((one, index) =>
    button('This one is better', () => {
      const [chosen, other] = [turn.answers[index], turn.answers[1 - index]];
      // A signal belongs to the answer that was chosen, so a changed mind withdraws it from there.
      if (turn.chosen === 1 - index) retract(other.token, 'preference');
      rate(chosen.token, { name: 'preference', rejected: [other.token] });
      turn.chosen = index;
      save();
      mark();
    }));
  const mark = () => buttons.forEach((one, index) => {
    const isChosen = turn.chosen === index;
    one.ariaPressed = isChosen;
    one.textContent = isChosen ? 'You prefer this one' : 'This one is better';
    shown[index].body.classList.toggle('chosen', isChosen);
  });
  buttons.forEach((one, index) => {
    one.className = 'prefer';
    shown[index].body.append(one);
  });
  mark();
  scrollDown();
}

const fresh = (prompt, attempt) => ({ text: '', prompt, attempt });

async function ask(isCompared) {
  const text = question.value.trim();
  if (!text) return question.focus();
  question.value = '';
  const answers = isCompared ? [fresh('1', 0), fresh('2', 1)] : [fresh(byId('prompt').value, 0)];
  const turn = { question: text, answers, isCompared };
  chat.turns.push(turn);
  await busy(() => draw(turn, true));
  question.focus();
}

async function busy(work) {
  const buttons = [...composer.querySelectorAll('button'), byId('fresh')];
  for (const one of buttons) one.disabled = true;
  await work();
  for (const one of buttons) one.disabled = false;
}

function button(label, onclick) {
  const made = element('button', '', label);
  made.type = 'button';
  made.onclick = onclick;
  return made;
}

const scrollDown = () => (messages.scrollTop = messages.scrollHeight);
const save = () => sessionStorage.setItem('chat', JSON.stringify(chat));

composer.addEventListener('submit', (event) => {
  event.preventDefault();
  ask(false);
});
question.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
byId('compare').onclick = () => ask(true);
byId('fresh').onclick = () => {
  sessionStorage.removeItem('chat');
  location.reload();
};
byId('toggle').onclick = () => {
  const isShown = document.body.classList.toggle('shows-panel');
  byId('toggle').ariaExpanded = isShown;
};
for (const suggestion of document.querySelectorAll('.suggestions button')) {
  suggestion.onclick = () => {
    question.value = suggestion.textContent;
    composer.requestSubmit();
  };
}

chat = JSON.parse(sessionStorage.getItem('chat')) ?? chat;
for (const turn of chat.turns) await draw(turn, false);
document.body.dataset.ready = true;
follow();
