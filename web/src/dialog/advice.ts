// Errors in words, and what to do after a refusal whose message does not say it.

import { ApiError } from "../api";

const next: Record<string, string> = {
  REVISION_MISMATCH: "Somebody changed it in between. Check again.",
  RULE_BROKEN: "Check again.",
  LEASE_HELD: "An override decides over its reporter.",
};

export const advice = (e: unknown): string => (e instanceof ApiError && next[e.reason]) || "";

// message is what an error says. The page has no flags of the command line.
export const message = (e: unknown): string => (e as Error).message.replace(/; show a token .*/, "; sign in");
