// What a person changes of the cluster and of access: who leads, that the lease guard holds, that a token counts.

import { name } from "../api";
import type { ClusterStatus, Token } from "../types";
import { held } from "../words/change";
import { printable } from "../words/text";
import { field, p, select } from "./fields";
import { run, type Answer } from "./flow";

export function transferDialog(c: ClusterStatus): Promise<boolean> {
  const to = select([["", "the voter that has received the most"], ...c.members.filter((m) => m.member.voter && m.member.name !== c.leader).map((m): [string, string] =>
    [m.member.name, `${m.member.name}: ` + (m.ready ? `lag ${m.lag_entries}` : "not ready")])], "");
  return run<Answer & { leader: string; term: number }>({
    title: "Hand leadership over",
    about: [p(`${c.leader} leads in term ${c.term}. Changes wait for less than a second as a rule.`)],
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
    about: [p(`It may: ${held(t as never)}. The token (id ${t.id}) and its grants are deleted for ever: it changes nothing from then on, and its watches end within a second.`)],
    request: () => ["DELETE", "tokens/" + name(t.name)],
    verb: "Revoke",
  });
}

export function releaseGuardDialog(): Promise<boolean> {
  return run({
    title: "Release the lease guard",
    about: [p("Late leases expire then, and their reports turn. Do it if their reporters are dead, and not if they cannot reach the cluster.")],
    request: () => ["POST", "leases:release-guard", {}],
    verb: "Release",
  });
}
