import { expect, onTestFinished, test } from "vitest";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { createNews } from "../../src/redeemer/news.ts";
import { answers, claim, commit, entry, settlement } from "../journal/records.ts";

test("one look hears of all that another process has settled, and reads on only while there is some", async () => {
  const journal = openSqliteJournal(":memory:");
  onTestFinished(() => journal.close("two"));
  const ids = Array.from({ length: 3_500 }, (_, index) => `id ${index}`);
  await commit(journal, { owner: "two", append: ids.map((id) => entry(id)) });
  let reads = 0;
  const read: typeof journal.read = (wanted) => {
    reads += 1;
    return journal.read(wanted);
  };
  const news = createNews({ ...journal, read }, () => false);
  for (const id of ids) news.follow(id, "pending");
  expect(await news.hear()).toEqual([]);
  expect(reads).toBe(1);
  const limit = 2_400;
  const taken = await claim(journal, { owner: "two", claim: { limit, perHolder: limit } });
  await commit(journal, {
    owner: "two",
    settle: taken.map((attempt) => settlement(attempt, answers.completed)),
  });
  const heard = [...(await news.hear()), ...(await news.hear())];
  expect(new Set(heard.map(({ redemptionId }) => redemptionId)).size).toBe(limit);
});
