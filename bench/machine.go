package main

import (
	"context"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcallhq/rollcall/bench/report"
)

func thisMachine(dir string) (*report.Machine, error) {
	m := &report.Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	m.CPU = field("/proc/cpuinfo", "model name")
	if kib, err := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.MemoryGiB = kib / (1 << 20)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	syncs, err := timeSyncs(dir)
	if err != nil {
		return nil, err
	}
	m.FdatasyncMedianMicros = micros(report.Quantile(syncs, 0.5))
	m.FdatasyncP99Micros = micros(report.Quantile(syncs, 0.99))
	return m, nil
}

// field is the first value of a name in a file of lines "name : value", "unknown" if there is none.
func field(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// timeSyncs returns, sorted, how long it took to append 4 KiB to a file in dir and make them durable.
func timeSyncs(dir string) ([]time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	var took []time.Duration
	for range 500 {
		begun := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	return took, nil
}

func commit(ctx context.Context, repo string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", repo, "describe", "--always", "--dirty", "--abbrev=12", "--match=").Output()
	if err != nil {
		return "unknown sources"
	}
	return strings.TrimSpace(string(out))
}

// versions are those of the built binaries, as the binaries print them.
func versions(s *session) map[string]string {
	v := map[string]string{}
	for _, b := range []struct {
		binary  string
		modules map[string]string
	}{
		{"rollcall", map[string]string{"github.com/hashicorp/raft": "hashicorp/raft", "go.etcd.io/bbolt": "bbolt", "google.golang.org/grpc": "grpc-go"}},
		{"etcd", map[string]string{"go.etcd.io/etcd/server/v3": "etcd"}},
		{"nats", map[string]string{"github.com/nats-io/nats-server/v2": "NATS"}},
		{"health", map[string]string{"google.golang.org/grpc": "health.Server (grpc-go)"}},
	} {
		info, err := buildinfo.ReadFile(filepath.Clean(s.binary(b.binary)))
		if err != nil {
			continue
		}
		for _, d := range info.Deps {
			if name, ok := b.modules[d.Path]; ok {
				v[name] = d.Version
			}
		}
	}
	return v
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
