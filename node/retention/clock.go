package retention

import "time"

// maxWindow is for how long log time must have run on without a leap before history is deleted
// by its age; HistoryAge, if that is less.
const maxWindow = time.Hour

// clock tells by which time history ages: by the slowest account of log time in the last window.
// So a leap of log time, after a stop of the cluster or because clocks were put right, deletes nothing
// before it has stood for a whole window. Who set a clock wrong has that long to notice.
type clock struct {
	window  time.Duration
	samples []logTimeSample // oldest first; the first one is as old as the window, or the first there was
}

// logTimeSample is log time, in nanoseconds since 1970, at a moment of this process's monotonic clock.
type logTimeSample struct {
	lived   time.Duration
	logTime int64
}

// at takes what log time is now and returns the time by which history ages.
func (r *clock) at(lived time.Duration, logTime int64) time.Time {
	r.samples = append(r.samples, logTimeSample{lived, logTime})
	begin := 0
	for begin+1 < len(r.samples) && lived-r.samples[begin+1].lived >= r.window {
		begin++
	}
	r.samples = append(r.samples[:0], r.samples[begin:]...)
	slowest := logTime
	for _, s := range r.samples {
		slowest = min(slowest, s.logTime+int64(lived-s.lived))
	}
	return time.Unix(0, slowest)
}
