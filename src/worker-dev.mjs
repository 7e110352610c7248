/** The worker thread of express-credit-meter: started from its TypeScript, for tests and examples; not in the package. */

// tsx registers itself in the main thread only, and Node 20 reads no TypeScript.
import { register } from "tsx/esm/api";

register();
await import("./worker.ts");
