/** The list of what was played from one start or fork on; there is nothing to choose while there is one branch only. */

import { h } from "./dom";
import type { BranchInfo } from "./protocol";
import type { RoomState } from "./state";

/** Return what people call a branch. */
export function branchTitle({ ordinal, forked }: BranchInfo): string {
  return forked === null ? `Branch ${ordinal}` : `Branch ${ordinal}, from step ${forked}`;
}

export class BranchList {
  readonly root: HTMLSelectElement;
  private shown = 0;

  constructor(private readonly go: (branch: number) => void) {
    const label = "Branch: go back to one that was left";
    this.root = h("select", { class: "branches", "aria-label": label, title: label, hidden: true, onchange: () => this.choose() });
  }

  /** Ask for another branch; the list changes once the room is there. */
  private choose(): void {
    const wanted = Number(this.root.value);
    this.root.value = String(this.shown);
    this.go(wanted);
  }

  update({ branch, branches }: RoomState): void {
    this.shown = branch;
    this.root.hidden = branches.length < 2;
    const known = [...this.root.options].map((option) => option.value).join();
    if (known !== branches.map((each) => each.branch).join()) {
      this.root.replaceChildren(...branches.map((each) => h("option", { value: each.branch }, branchTitle(each))));
    }
    if (document.activeElement !== this.root) this.root.value = String(branch);
  }
}
