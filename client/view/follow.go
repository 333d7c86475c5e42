package view

import (
	"context"
	"time"

	rollcallv1 "github.com/rollcallhq/rollcall/api/rollcall/v1"
	"github.com/rollcallhq/rollcall/client"
)

// follow keeps a watch open until ctx ends.
func (v *View) follow(ctx context.Context) {
	ready := false
	watched := client.WithWatchState(ctx, func(s client.WatchState) {
		if s.Connected {
			v.heard.Add(1)
			return
		}
		v.silent.Store(int64(time.Since(v.made)))
		v.heard.Add(-1)
	})
	for ctx.Err() == nil {
		for u, err := range v.client.WatchNames(watched, v.names...) {
			if err != nil {
				break
			}
			for _, r := range u.Services {
				v.publish(r.GetService(), r, u)
			}
			for _, name := range u.Deleted {
				v.publish(name, nil, u)
			}
			changed := make(chan struct{})
			close(*v.changed.Swap(&changed))
			if u.Synced && !ready {
				ready = true
				close(v.ready)
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

func (v *View) publish(name string, r *rollcallv1.ServiceRecord, u client.ServicesUpdate) {
	o := Opinion{Heard: true, Status: r.GetStatus(), Record: r, Revision: u.Revision, Cluster: u.Cluster, HeardAt: time.Now()}
	if r == nil {
		o.Status = client.ServiceUnknown
	}
	o.Off = o.Status == client.NotServing
	if last := v.Get(name); last.Off && last.Cluster != o.Cluster && r == nil {
		o = last
		o.Held = true
	}
	v.slots[name].opinion.Store(&o)
}
