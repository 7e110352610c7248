import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/**
 * Everything runs on the Express that package.json names; what knows Express (`test/middleware`)
 * runs a second time with every `import "express"` answered by Express 4.
 */
export default defineConfig({
  test: {
    // Many files mostly wait for processes that they started: two at once even on two cores.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 20_000,
    hookTimeout: 20_000,
    projects: [
      {
        extends: true,
        test: {
          name: "express-5",
          include: ["test/**/*.test.ts"],
          setupFiles: ["test/setup.ts"],
        },
      },
      {
        extends: true,
        resolve: { alias: [{ find: /^express$/, replacement: "express4" }] },
        test: {
          name: "express-4",
          include: ["test/middleware/**/*.test.ts"],
          // These know headers only.
          exclude: ["test/middleware/x402/{token,payment-required}.test.ts"],
          setupFiles: ["test/setup.ts"],
        },
      },
    ],
  },
});
