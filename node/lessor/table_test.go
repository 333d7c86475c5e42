package lessor

import (
	"testing"
	"time"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
)

// TestNothingIsLeftOfLeasesThatAreGone, long before their time would have come.
func TestNothingIsLeftOfLeasesThatAreGone(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, c *cluster) {
		for range 50 {
			for i := range 10 {
				c.grant(id(i), 24*time.Hour)
			}
			time.Sleep(time.Second)
			c.renew(idsUpTo(10)...)
			for i := range 10 {
				c.put(id(i), nil)
			}
			end := &logv1.LeaseEnd{Done: true, ForgetTime: time.Now().Add(time.Hour).UnixNano()}
			c.put(id(11), &logv1.Lease{End: end})
			for range 5 { // its reporter does not know
				if lost, _, err := c.l.Renew(t.Context(), []string{id(11)}); err != nil || len(lost) != 1 {
					t.Fatal(lost, err)
				}
			}
			time.Sleep(time.Second)
		}
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		if table := c.l.table; len(table.leases)+len(table.due)+len(table.schedule.buckets)+table.late+table.unheard > 0 || len(table.forgotten.byTime) != 1 {
			t.Errorf("%d leases, %d due, %d buckets, %d to be forgotten", len(table.leases), len(table.due), len(table.schedule.buckets), len(table.forgotten.byTime))
		}
	})
}
