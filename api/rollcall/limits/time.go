package limits

// MaxLogTime is the beginning of the year 2200 in nanoseconds since 1970. No entry moves log time beyond it, so
// that times can be added without an overflow.
const MaxLogTime = 7_258_118_400_000_000_000
