package registry

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	logv1 "github.com/rollcallhq/rollcall/api/rollcall/log/v1"
	"github.com/rollcallhq/rollcall/store/storetest"
)

// mapped is how much of a file is in this process's memory, by all its mappings.
func mapped(t *testing.T, path string) int {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	rss := regexp.MustCompile(`^Rss: +([0-9]+) kB$`)
	total, here := 0, false
	for line := range strings.Lines(string(smaps)) {
		line = strings.TrimSpace(line)
		if first, _, _ := strings.Cut(line, " "); strings.Contains(first, "-") {
			here = strings.HasSuffix(line, path)
		}
		if m := rss.FindStringSubmatch(line); m != nil && here {
			kib, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			total += kib << 10
		}
	}
	return total
}

// TestWhatWasReadIsUnmapped: going through all of a registry file does not leave it in this process's memory,
// and neither does writing much of it.
func TestWhatWasReadIsUnmapped(t *testing.T) {
	d := openDisk(t, t.TempDir(), lazy)
	defer d.close()
	const services = 20_000
	revision := uint64(0)
	changes := func(n int) {
		for range n {
			revision++
			d.registryFile.Append(storetest.Change(revision, fmt.Sprintf("many/%d", revision*7919%services)))
		}
		d.flush()
	}
	changes(services)
	most, looked := 0, 0
	_, err := d.registryFile.Scan(context.Background(), logv1.VisitorFunc(func(_ logv1.Kind, _ int, records []logv1.KeyValue) error {
		if looked += len(records); looked == services {
			most = mapped(t, d.registryFile.path)
		}
		return nil
	}))
	if err != nil || most < services*20 {
		t.Fatalf("%d bytes are mapped when all is gone through: %v", most, err)
	}
	if left := mapped(t, d.registryFile.path); left > most/10 {
		t.Errorf("after a scan %d bytes are mapped, of %d", left, most)
	}
	d.load()
	if left := mapped(t, d.registryFile.path); left > most/10 {
		t.Errorf("after a start %d bytes are mapped, of %d", left, most)
	}
	rose, fell := 0, 0
	for range 60 {
		before := mapped(t, d.registryFile.path)
		changes(1000)
		switch after := mapped(t, d.registryFile.path); {
		case after > before:
			rose++
		case after < before/2:
			fell++
		}
	}
	if rose == 0 || fell == 0 {
		t.Errorf("what is mapped rose with %d flushes and fell with %d", rose, fell)
	}
}
