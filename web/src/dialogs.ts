// Dialogs that change something. Each resolves to whether a change was made.
import type { Override, Rule } from "./types";

export async function setDialog(_name: string): Promise<boolean> {
  return false;
}

export async function overrideDialog(_pattern: string): Promise<boolean> {
  return false;
}

export async function clearOverrideDialog(_o: Override): Promise<boolean> {
  return false;
}

export async function shutdownDialog(_prefix: string): Promise<boolean> {
  return false;
}

export async function deleteDialog(_name: string): Promise<boolean> {
  return false;
}

export async function ruleDialog(_r?: Rule): Promise<boolean> {
  return false;
}
