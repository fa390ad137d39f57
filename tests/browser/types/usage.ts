// How an app uses the module, for the type checker; each line below an @ts-expect-error must be refused.
import { configure, correct, given, observe, rate, retract, stars, thumbs } from 'spanback';
import type { Choice, Outcome, Signal } from 'spanback';

const token: string = 'a.b.c';
const element: HTMLElement = document.body;

configure({ url: '/feedback', storage: false, maxAgeMs: 3_600_000 });
const id: string = rate(token, { score: 1, name: 'user_thumbs', weight: 0.8, metadata: { page: 'chat', turn: 3 } });
rate(token, { choice: 0, rejected_choice: [1, null], rejected: [token, token] });
rate(token, { rating: 4, scale: [1, 5], feedback_id: id }, '/feedback');
correct(token, { text: 'Canberra' }, { comment: 'Sydney is not it' });
const withdrawn: string | undefined = retract(token, 'user_thumbs');
const standing: Signal | undefined = given(token);
const made: HTMLElement = thumbs(element, token, { 'up-label': 'Gut', name: 'helpful' });
stars(element, token).setAttribute('token', token);
const watch = observe(element, token, { dwellMs: 5_000 });
watch.signal('regenerated');
watch.stop();
made.addEventListener('feedback', (event) => {
  const choice: Choice = event.detail;
  console.log(choice.signal?.score, withdrawn, standing);
});
document.addEventListener('feedback-refused', (event) => {
  const outcome: Outcome = event.detail;
  console.log(outcome.status, outcome.answer?.title);
});

// @ts-expect-error a signal is an object
rate(token, 1);
// @ts-expect-error a scale has two ends
rate(token, { rating: 4, scale: [5] });
// @ts-expect-error this is nothing that is observed
watch.signal('liked');
// @ts-expect-error there is no such setting
configure({ address: '/feedback' });
