/**
 * Whoever is told something cannot disturb whoever tells it: what is told ends in a logger, which is the
 * operator's own. What it throws becomes a warning of the process.
 */
export function harmless<Told>(tell: (told: Told) => void): (told: Told) => void {
  return (told) => {
    try {
      tell(told);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
}
