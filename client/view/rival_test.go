package view

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

func TestRival(t *testing.T) {
	mine := client.Acknowledged{LeaseID: "mine", Cluster: "a", Revision: 7}
	record := func(lease string, of *rollcallv1.Lease) *rollcallv1.ServiceRecord {
		return &rollcallv1.ServiceRecord{Report: &rollcallv1.Report{LeaseId: lease}, Lease: of}
	}
	living := record("other", &rollcallv1.Lease{LeaseId: "other"})
	for name, tt := range map[string]struct {
		record *rollcallv1.ServiceRecord
		change func(*Opinion)
		rival  bool
		gone   bool
	}{
		"the own report":             {record: record("mine", &rollcallv1.Lease{LeaseId: "mine"})},
		"the own lease has ended":    {record: record("mine", &rollcallv1.Lease{LeaseId: "mine", EndTime: timestamppb.Now()})},
		"another lease lives":        {record: living, rival: true},
		"another lease has ended":    {record: record("other", &rollcallv1.Lease{LeaseId: "other", EndTime: timestamppb.Now()}), gone: true},
		"another lease is forgotten": {record: record("other", nil), gone: true},
		"no lease":                   {record: record("", nil), gone: true},
		"deleted":                    {gone: true},
		"as of the same revision":    {record: living, change: func(o *Opinion) { o.Revision = 7 }, rival: true},
		"as of an older revision":    {record: living, change: func(o *Opinion) { o.Revision = 6 }},
		"deleted before":             {change: func(o *Opinion) { o.Revision = 6 }},
		"of another cluster":         {record: living, change: func(o *Opinion) { o.Cluster = "b" }},
		"deleted in another cluster": {change: func(o *Opinion) { o.Cluster = "b" }},
		"held":                       {record: living, change: func(o *Opinion) { o.Held = true }},
		"not heard":                  {change: func(o *Opinion) { o.Heard = false }},
	} {
		t.Run(name, func(t *testing.T) {
			o := Opinion{Heard: true, Cluster: "a", Revision: 8, Record: tt.record}
			if tt.change != nil {
				tt.change(&o)
			}
			rival, gone := o.Rival(mine)
			if (rival != nil) != tt.rival || gone != tt.gone || rival != nil && rival != tt.record {
				t.Errorf("rival %v, gone %v", rival, gone)
			}
		})
	}
}
