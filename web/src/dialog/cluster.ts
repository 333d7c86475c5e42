// What a person changes of the cluster and of access: who leads, and that a token counts.

import { name } from "../api";
import type { ClusterStatus, Token } from "../types";
import { held } from "../words/access";
import { printable } from "../words/text";
import { field, p, select } from "./fields";
import { run, type Answer } from "./flow";

export function transferDialog(c: ClusterStatus): Promise<boolean> {
  const voters = c.members.filter((m) => m.member.voter && m.member.name !== c.leader);
  const to = select("", [["", "the voter that has received most"], ...voters.map((m): [string, string] => [m.member.name, m.member.name + (m.ready ? `, lag ${m.lag_entries}` : ", not ready")])]);
  return run<Answer & { leader: string; term: number }>({
    title: "Hand leadership over",
    about: [p(`${c.leader} leads. Changes wait for less than a second as a rule.`)],
    fields: [field("To", to)],
    request: () => ["POST", "cluster:transfer", { to: to.value }],
    plain: true,
    verb: "Hand over",
    done: (a) => `${a.leader} leads, term ${a.term}.`,
  });
}

export function revokeTokenDialog(t: Token): Promise<boolean> {
  return run({
    title: "Revoke token " + printable(t.name),
    about: [p(`It may: ${held(t)}. The token (id ${t.id}) and its grants are deleted for ever, and its watches end.`)],
    request: () => ["DELETE", "tokens/" + name(t.name)],
    verb: "Revoke",
  });
}
