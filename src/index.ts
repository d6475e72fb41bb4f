/**
 * The client: start syncs and look after them. Workers are in `highwater/worker`, which this does not load.
 * @module
 */
export {
  AlreadyRunningError,
  checkConfiguration,
  DEFAULT_TASK_QUEUE,
  HighwaterClient,
  NoSuchSyncError,
  NothingToDecideError,
  NotRunningError,
  QueryRefusedError,
  RangeHandle,
  SettingRefusedError,
  SyncFailedError,
  SyncHandle,
  type AuditOptions,
  type ListedSync,
  type RangeOptions,
  type Reading,
  type StartOptions,
  type StreamOutcome,
  type Work,
} from './client.js';
export {
  defineSync,
  type ExtensionStrategies,
  loadConfiguration,
  type Configuration,
  type FlatConfiguration,
  type FullConfiguration,
  type StreamConfiguration,
} from './config/index.js';
export { target, type Target } from './connection.js';
export * from './errors.js';
export {
  type CustomDestination,
  type CustomDestinations,
  defineDestination,
  type DestinationContext,
  type DestinationDefinition,
  type DestinationFeature,
} from './destinations/custom.js';
export type { ColumnValue } from './destinations/column-values.js';
export type {
  ConcludeRequest,
  CursorColumn,
  Destination,
  History,
  HistoryEntry,
  HistoryRequest,
  OpenRequest,
  OpenResult,
  ParentRow,
  ParentsRequest,
  Ranges,
  RangeWrite,
  StreamMove,
  WriteOutcome,
  WriteRequest,
  ChildrenWrite,
  ChildWrite,
} from './destinations/destination.js';
export type { Fingerprint } from './destinations/fingerprint.js';
export type { RetryOutcome, RetryRequest } from './destinations/sql/retry.js';
export { type RowStore, type StoreCommit, type TableName, upsertInto } from './destinations/upsert-into.js';
export {
  ExtensionError,
  extensionsOf,
  loadExtensions,
  type Extension,
  type LoadedExtensions,
} from './extensions.js';
export type { FailureType } from './failures.js';
export type {
  Checkpoint,
  ColumnType,
  CursorFormat,
  DeleteMode,
  DeletesDecision,
  HookRef,
  Inference,
  MaxDeletes,
  ParentSpec,
  RangeFound,
  RangePlan,
  SchemaChange,
  StrategyKey,
  StreamKey,
  TableSpec,
  Unseen,
  WriteMode,
  WrittenBatch,
  Cursor,
  Differences,
  EndRule,
  Holder,
  Json,
  Note,
  PageRecords,
  PageRequest,
  PageSummary,
  PageTexts,
  PassSummary,
  Progress,
  Range,
  RangeKind,
  RangeResult,
  Remembered,
  Retry,
  StrategyName,
  StreamResult,
  WriteCounts,
  SyncResult,
  SyncStatus,
  TooManyDeletes,
  Trouble,
} from './protocol.js';
export {
  type ListedSchedule,
  NoSuchScheduleError,
  ScheduleExistsError,
  type ScheduleOptions,
  ScheduleRefusedError,
  type Schedules,
  type SyncSchedule,
} from './schedules.js';
export {
  ContradictionError,
  type CustomStrategies,
  type CustomStrategy,
  defineStrategy,
  DoubtError,
  followToken,
  type OptionsIssue,
  type OptionsResult,
  type OptionsSchema,
  type Strategy,
  type StrategyDefinition,
  TokenCycleError,
  type TokenTrail,
  UnfollowableError,
} from './strategies/index.js';
export type { RangeOf } from './sync-families.js';
export type { Trust, TrustOptions } from './trust/policy.js';
export type { HighwaterWorker, HighwaterWorkerOptions } from './worker.js';
export type { Decided } from './workflows/deletes.js';
export type { MoveInput } from './move-target.js';
export type { Reopened } from './workflows/moves.js';
