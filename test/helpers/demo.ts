import { afterAll, beforeAll } from 'vitest';
import { startDemoApi, type DemoApi, type DemoSettingsPatch } from '../../src/dev/demo-api.js';

/** A demo API in a process of its own, on a free port. The caller stops it; it also ends with the test process. */
export function startDemo(settings: DemoSettingsPatch = {}): Promise<DemoApi> {
  return startDemoApi({ settings });
}

/**
 * One demo API for all tests of a file or a `describe`: started before the first, stopped after the last. Call
 * `demo().client.reset({...})` where a test wants it fresh.
 */
export function useDemo(settings: DemoSettingsPatch = {}): () => DemoApi {
  let demo: DemoApi | undefined;
  beforeAll(async () => {
    demo = await startDemo(settings);
  }, 30_000);
  afterAll(() => demo?.stop());
  return () => {
    if (!demo) throw new Error('the demo API runs only while tests run');
    return demo;
  };
}
