/**
 * Prints what a journal in a file holds, and ends: a connection of a process that lives on would keep
 * the files' locks, and a server that starts would find them as no real start does.
 */

import { openSqlite } from "./sqlite-view.ts";

const [file = "", pid] = process.argv.slice(2);
console.log(JSON.stringify(openSqlite(file).look(Number(pid))));
