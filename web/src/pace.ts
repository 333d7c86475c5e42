// paced has f called with the newest value: at once, and then at most once in so many ms. The last value always comes.
export function paced<T>(ms: number, f: (value: T) => void): (value: T) => void {
  let waiting: [T] | undefined, resting = false;
  const next = (): void => {
    resting = false;
    if (waiting) call(...waiting);
  };
  const call = (value: T): void => {
    waiting = undefined;
    resting = true;
    setTimeout(next, ms);
    f(value);
  };
  return (value) => {
    if (resting) waiting = [value];
    else call(value);
  };
}
