import { Budget, Budgets } from '../sources/budget.js';

/** Budgets for answers that are recorded: no request waits. */
export class FreeBudgets extends Budgets {
  override budgetFor(): Budget {
    return new FreeBudget(null);
  }
}

class FreeBudget extends Budget {
  override noteAllowance(): void {}
}
