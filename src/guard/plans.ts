/** Which plans this API sells. */

/**
 * The plans that pay for this API: a list, or a function that returns one (asked at every metered
 * request, so it should answer from memory). `"any"` accepts every plan id, also one that a buyer
 * made for themselves and filled at no cost: only for trying out, or where something in front of the
 * meter has checked the plan.
 */
export type Plans = readonly string[] | "any" | (() => PlanList | Promise<PlanList>);

type PlanList = readonly string[];

/** The plans that are sold now; undefined where any is accepted. */
export function listPlans(plans: Plans): PlanList | undefined | Promise<PlanList> {
  if (plans === "any") return undefined;
  return typeof plans === "function" ? plans() : plans;
}
