/**
 * Prints what a journal holds, and ends: a connection of a process that lives on would keep the files'
 * locks, and a server that starts would find them as no real start does.
 */

import { viewJournal } from "./journal-view.ts";

const view = viewJournal(process.argv[2] ?? "");
console.log(JSON.stringify({ states: view.states(), sending: view.sending() }));
