/** The real worker, which ends when it is told to by the name in its settings. */

import { BroadcastChannel, workerData } from "node:worker_threads";

const { name, built, diesAtFirst } = workerData.settings;
if (diesAtFirst && workerData.identity.replaces.length === 0) throw new Error("the first one dies");
const channel = new BroadcastChannel(name);
channel.onmessage = ({ data }) => {
  if (data === "exit") process.exit(1);
  setImmediate(() => {
    throw new Error(data);
  });
};
channel.unref();
await import(new URL("worker.js", built));
