package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rollcallhq/rollcall/bench/report"
)

var memoryScenario = scenario{
	name:  "memory",
	title: "Memory and disk of a service",
	about: "Three nodes that were just filled, services as keys and values of the same content; garbage collected; the mean of the nodes. Resident memory includes what is mapped of the database file. The database is Rollcall's registry.db and etcd's member/snap/db; raft logs and snapshots are left out.",
	run:   runMemory,
}

func runMemory(ctx context.Context, s *session, r *report.Scenario) error {
	services := s.sizes()[len(s.sizes())-1]
	makers := []func() (cluster, error){
		func() (cluster, error) { return newRollcall(s, 3) },
		func() (cluster, error) { return newEtcd(s, 3) },
	}
	if s.before != "" {
		makers[1] = func() (cluster, error) { return newRollcallBefore(s, 3) }
	}
	return eachRound(s, makers, func(make func() (cluster, error)) error {
		c, err := make()
		if err != nil {
			return err
		}
		defer closeCluster(c)
		if err := open(ctx, c); err != nil {
			return err
		}
		s.progress("filling %s with %d services", c.who(), services)
		if err := c.(filler).fill(ctx, 0, services); err != nil {
			return fmt.Errorf("fill %s: %w", c.who(), err)
		}
		var resident, own, disk float64
		for _, m := range c.members() {
			if err := collect(ctx, m.profiles); err != nil {
				return err
			}
			anonymous, files, err := residentBytes(m.process.pid())
			if err != nil {
				return err
			}
			size, err := databaseBytes(m.data)
			if err != nil {
				return err
			}
			n := float64(len(c.members()) * services)
			resident += float64(anonymous+files) / n
			own += float64(anonymous) / n
			disk += float64(size) / n
		}
		work := report.Number(float64(services)) + " services"
		r.Row(work, "B resident/service", report.RatioAtMost(1, 0), rollcallName, etcdName).Add(c.who(), resident)
		r.Row(work, "B of that heap and stacks", nil, rollcallName, etcdName).Add(c.who(), own)
		r.Row(work, "B of database file/service", report.RatioAtMost(2, 0), rollcallName, etcdName).Add(c.who(), disk)
		return nil
	})
}

// databaseBytes is the size of a member's database. Trees before 2026-11-28 call theirs journal.db.
func databaseBytes(data string) (int64, error) {
	var size int64
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Name() != "registry.db" && d.Name() != "journal.db" && !strings.HasSuffix(path, filepath.Join("member", "snap", "db")) {
			return nil
		}
		info, err := os.Stat(path)
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err == nil && size == 0 {
		err = fmt.Errorf("no database in %s", data)
	}
	return size, err
}
