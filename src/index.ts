export {
  AlreadyRunningError,
  DEFAULT_TASK_QUEUE,
  defaultWorkflowId,
  HighwaterClient,
  NoSuchSyncError,
  NotRunningError,
  SettingRefusedError,
  SyncFailedError,
  SyncHandle,
  type StartOptions,
} from './client.js';
export { loadConfiguration, planFromFlat, plansFrom } from './config/index.js';
export { target, type Target } from './connection.js';
export * from './errors.js';
export type {
  ColumnType,
  EndRule,
  Json,
  Note,
  PassSummary,
  Progress,
  StrategyName,
  StreamResult,
  SyncResult,
  SyncStatus,
  Trouble,
} from './protocol.js';
export type { MoveInput, Reopened } from './workflows/moves.js';
