/** The colours of subjects: as the server reads them from their pictures, else one for all, and numbers tell who is who. */

import type { WorldInfo } from "./protocol";

/** The ring of a subject whose colour says nothing. */
export const NEUTRAL = "#ffffff";
/** What is written on such colours. */
export const INK = "#10121a";

/** Return the colour of a subject's ring, which is seen on dark and, by its edge, on light. */
export function colourOf(world: Pick<WorldInfo, "colours"> | null, subject: number): string {
  return world?.colours?.[subject] ?? NEUTRAL;
}
