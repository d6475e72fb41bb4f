/**
 * Suites for extensions, for Vitest and fast-check, which the extension installs itself.
 * @module
 */
export { strategyLaws, type SourceAnswer, type SourceRecord, type StrategyLaws } from './strategy-laws.js';
export { destinationContract } from './destination/contract.js';
export type { ContractOptions, Row, TestedDestination } from './destination/tested.js';
