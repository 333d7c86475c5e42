package format

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLiveLineRewritesOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		stop := LiveLine(&out, func(elapsed time.Duration) string { return "after " + elapsed.String() })
		for range 3 {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		stop()
		want := "\r\x1b[Kafter 1s\r\x1b[Kafter 2s\r\x1b[Kafter 3s\r\x1b[K"
		if got := out.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestAFileIsNoTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, w := range []io.Writer{file, &strings.Builder{}} {
		if IsTerminal(w) {
			t.Errorf("%T is taken for a terminal", w)
		}
	}
}
