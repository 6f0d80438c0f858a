import { expect, it } from "vitest";
import { colourOf, NEUTRAL } from "../src/colours";

it("takes colours from the server, and one for all where there are none", () => {
  expect([0, 1, 2].map((i) => colourOf({ colours: ["#ff0000", "#00ff00"] }, i))).toEqual(["#ff0000", "#00ff00", NEUTRAL]);
  expect([colourOf({ colours: [] }, 0), colourOf({}, 5), colourOf(null, 1)]).toEqual([NEUTRAL, NEUTRAL, NEUTRAL]);
});
