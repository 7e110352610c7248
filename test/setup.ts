/**
 * nock 15 calls `Promise.withResolvers`, which Node 20 does not have yet. Only tests need it: the
 * package itself must run without.
 */
const promises = Promise as unknown as { withResolvers?: () => unknown };
promises.withResolvers ??= () => {
  let resolve: unknown;
  let reject: unknown;
  const promise = new Promise((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
};
