/** Looks into a journal from outside: what its servers have written, and not what they say. */

export interface RecordSeen {
  readonly redemptionId: string;
  readonly status: string;
  readonly reason: string | null;
  readonly code: string | null;
  readonly amount: number | null;
  readonly attempt: number;
}

export type States = Readonly<Record<string, number>>;

/** What a server left that has just ended. */
export interface Look {
  readonly states: States;
  /** Ids of the records that are on the wire, of whatever server. */
  readonly sending: readonly string[];
  /** Those of them that it had taken itself. */
  readonly own: readonly string[];
}

export interface JournalView {
  /** How many records there are by status; none where there are no tables yet. */
  states(): Promise<States>;
  /** Ids of the records that a process has on the wire. */
  sendingOf(pid: number): Promise<string[]>;
  /** The heartbeat of a process; undefined where the journal lists it no more. */
  beatOf(pid: number): Promise<number | undefined>;
  /** Ids of records that were on the wire when their owner ended, and that another one found. */
  takenOver(): Promise<string[]>;
  records(): Promise<RecordSeen[]>;
  /** @param alone no other server is on the journal */
  look(pid: number, alone: boolean): Promise<Look>;
}
