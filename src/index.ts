export {
  AlreadyRunningError,
  DEFAULT_TASK_QUEUE,
  defaultWorkflowId,
  HighwaterClient,
  NoSuchSyncError,
  NothingToDecideError,
  NotRunningError,
  RangeHandle,
  SettingRefusedError,
  SyncFailedError,
  SyncHandle,
  type AuditOptions,
  type RangeOptions,
  type StartOptions,
} from './client.js';
export { loadConfiguration, planFromFlat, plansFrom } from './config/index.js';
export { target, type Target } from './connection.js';
export * from './errors.js';
export type {
  ColumnType,
  Differences,
  EndRule,
  Json,
  Note,
  PassSummary,
  Progress,
  RangeResult,
  StrategyName,
  StreamResult,
  SyncResult,
  SyncStatus,
  TooManyDeletes,
  Trouble,
} from './protocol.js';
export type { Decided } from './workflows/deletes.js';
export type { MoveInput, Reopened } from './workflows/moves.js';
