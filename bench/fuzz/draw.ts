/** Draws from a seed. */

import { createRandom } from "../torture/random.ts";

export interface Draw {
  /** From 0 up to, and without, the number. */
  below(number: number): number;
  pick<Value>(values: readonly Value[]): Value;
  /** One of the values, as often as its weight says. */
  weighted<Value>(values: readonly (readonly [weight: number, value: Value])[]): Value;
  /** True one time in so many. */
  oneIn(times: number): boolean;
  hex(digits: number): string;
  /** Characters with codes of the range. */
  characters(count: number, from: number, to: number): string;
}

export function createDraw(seed: number): Draw {
  const random = createRandom(seed);
  const below = (number: number) => Math.floor(random() * number);
  const draw: Draw = {
    below,
    pick: (values) => values[below(values.length)] as (typeof values)[number],
    weighted(values) {
      let left = random() * values.reduce((sum, [weight]) => sum + weight, 0);
      const found = values.find(([weight]) => {
        left -= weight;
        return left < 0;
      });
      return (found ?? values[0])?.[1] as (typeof values)[number][1];
    },
    oneIn: (times) => below(times) === 0,
    hex: (digits) =>
      draw.characters(digits, 0, 15).replace(/./gs, (c) => c.charCodeAt(0).toString(16)),
    characters(count, from, to) {
      return Array.from({ length: count }, () =>
        String.fromCharCode(from + below(to - from + 1)),
      ).join("");
    },
  };
  return draw;
}
