/** How good a response was. The fields are those of `spanback.record_feedback`, and so are their rules. */
export interface Signal {
  /** From -1 (worst) to 1 (best). A score, a rating, a label, a comment, an improvement or `rejected` must be given. */
  score?: number;
  /** A number on `scale`, instead of a score. */
  rating?: number;
  /** The lowest and the highest rating. */
  scale?: [number, number];
  /** Which signal, out of a-z, 0-9, `_`, `.` and `-`; `user_feedback` unless given. */
  name?: string;
  /** How much it counts, 0 to 1. */
  weight?: number;
  /** `explicit` (stated, the default) or `implicit` (inferred from behaviour). */
  type?: 'explicit' | 'implicit';
  /** A category, such as `hallucination`. */
  label?: string;
  /** Free text; kept only where the server captures content. */
  comment?: string;
  /** The corrected response, any JSON value; kept as a comment is. */
  improvement?: unknown;
  /** Up to 64 keys, for analysis. */
  metadata?: Record<string, string | number | boolean>;
  /** What was looked at, such as `tone`: a vote on each criterion. */
  criterion?: string;
  /** What is rated: the response, unless this or one of the next three says otherwise. */
  scope?: 'response' | 'span' | 'trace' | 'conversation' | 'tool_call' | 'choice' | 'document';
  /** Which of several answers, from 0. */
  choice?: number;
  /** Which call of a tool. */
  tool_call_id?: string;
  /** Which retrieved document. */
  document_id?: string;
  /** When it was given (ISO 8601), where that is not now. */
  observed_at?: string;
  /**
   * Tokens of responses that are worse than this one: then the signal is a preference, without a score. It belongs to
   * this token, so when another response is preferred later, `retract` it here first.
   */
  rejected?: string | string[];
  /**
   * Which choices of the rejected responses, or without these of the same response, are worse than `choice`: a number,
   * or several; where there are several rejected responses one for each, with null for a response as a whole.
   */
  rejected_choice?: number | (number | null)[];
  /** Whom the token is bound to, where it is bound and the server does not know by itself. */
  user_id?: string;
  /** The signal's id; unless given, that of the last signal of this name on this token, which is replaced. */
  feedback_id?: string;
}

/** What this module may be told once, before anything is given. */
export interface Settings {
  /** Where the endpoint is mounted; the folder that this file came from unless given. */
  url?: string;
  /** Whether signals that wait, and what was chosen, are kept in localStorage; true unless given. */
  storage?: boolean;
  /** How long they are kept, in milliseconds; seven days unless given. */
  maxAgeMs?: number;
}

/** The name of something that a person does with an answer. */
export type Implicit =
  | 'copied' | 'selected' | 'read' | 'regenerated' | 'saved' | 'shared' | 'dismissed' | 'abandoned';

/** The detail of the events `feedback-recorded`, `feedback-refused` and `feedback-expired` of the document. */
export interface Outcome {
  feedbackId: string;
  name: string;
  /** Whether it was a withdrawal. */
  isRetracted: boolean;
  /** The HTTP status; undefined where a signal has waited for too long. */
  status?: number;
  /** What the server answered: a receipt, or a problem (RFC 9457) that names field and rule. */
  answer?: Record<string, unknown>;
}

/** The detail of the event `feedback` of a component: what was chosen, or null where the choice was taken back. */
export interface Choice {
  feedbackId: string;
  name: string;
  signal: Signal | null;
}

/** Attributes of a component made by `thumbs` or `stars`. */
export interface Attributes {
  /** The endpoint of this component alone. */
  url?: string;
  /** The name of the signal: `user_thumbs` or `stars` unless given. */
  name?: string;
  'aria-label'?: string;
  'up-label'?: string;
  'down-label'?: string;
  /** The label of one star, with `{n}` for its number. */
  'star-label'?: string;
}

export function configure(settings: Settings): void;

/**
 * Gives a signal on the response that the token is for. It is sent at once, or kept until that is possible; retries
 * have the same id. One of the same name on the same token replaces the earlier one. Never throws for the network.
 *
 * @returns the signal's id
 */
export function rate(token: string, signal: Signal, url?: string): string;

/** Gives the answer as the user would have it: the signal `edited` with an improvement. */
export function correct(token: string, improvement: unknown, more?: Signal, url?: string): string;

/**
 * Withdraws the last signal of a name.
 *
 * @returns its id, or undefined where there is none
 */
export function retract(token: string, name?: string, url?: string): string | undefined;

/** The last signal of a name that was given here and stands. */
export function given(token: string, name?: string): Signal | undefined;

/** Puts thumbs into an element: a `<feedback-thumbs>`. */
export function thumbs(element: Element, token: string, attributes?: Attributes): HTMLElement;

/** Puts five stars into an element: a `<feedback-stars>`. */
export function stars(element: Element, token: string, attributes?: Attributes): HTMLElement;

/** How an answer is watched. Times are in milliseconds. */
export interface Watching {
  /** How long it is in sight before it counts as read. */
  dwellMs?: number;
  /** How long a selection stands before it counts. */
  selectMs?: number;
  url?: string;
}

/**
 * Gives a signal, once for each token, when the answer in an element is copied, selected or read, and when something in
 * it is clicked that has an attribute `data-signal`, such as `data-signal="regenerated"`.
 *
 * @returns `signal` gives one in code; `stop` ends the watching
 */
export function observe(
  element: Element,
  token: string,
  watching?: Watching,
): { signal(name: Implicit): void; stop(): void };

declare global {
  interface HTMLElementTagNameMap {
    'feedback-thumbs': HTMLElement;
    'feedback-stars': HTMLElement;
  }
  interface DocumentEventMap {
    'feedback-recorded': CustomEvent<Outcome>;
    'feedback-refused': CustomEvent<Outcome>;
    'feedback-expired': CustomEvent<Outcome>;
  }
  interface HTMLElementEventMap {
    feedback: CustomEvent<Choice>;
  }
}
