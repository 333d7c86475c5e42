// What to do after a refusal, for those reasons whose message does not say it.

import { ApiError } from "../api";

const next: Record<string, string> = {
  REVISION_MISMATCH: "Somebody changed it in between. Check again: it shows what is there now.",
  RULE_BROKEN: "Check again: it shows the rules, and how to break them.",
  LEASE_HELD: "An override decides over its reporter.",
  DENIED: "Sign in with a token that may do it.",
  NOT_WRITTEN: "The Cluster page shows what is wrong.",
};

export const advice = (e: unknown): string => (e instanceof ApiError && next[e.reason]) || "";

// message is what an error says, without the dot at its end.
export const message = (e: unknown): string => (e as Error).message.replace(/\.\s*$/, "");
