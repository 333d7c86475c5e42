// The dialogs in which a person changes something. All of them go the way of dialog/flow.ts.
export { deleteDialog, setDialog } from "./dialog/set";
export { clearOverrideDialog, overrideDialog, shutdownDialog } from "./dialog/override";
export { removeRuleDialog, ruleDialog } from "./dialog/rule";
export { revokeTokenDialog, transferDialog } from "./dialog/cluster";
