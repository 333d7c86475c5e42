package browsertest_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// axeVersion is the one of axe-core that npm brings to a temporary directory. Nothing of it is kept here.
const axeVersion = "4.14.1"

// axeSource is the text of axe-core.
var axeSource = sync.OnceValues(func() (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("npm is not installed")
	}
	dir, err := os.MkdirTemp("", "rollcall-axe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	pack := exec.Command(npm, "pack", "--silent", "axe-core@"+axeVersion)
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack: %w\n%s", err, out)
	}
	archive, err := os.Open(filepath.Join(dir, "axe-core-"+axeVersion+".tgz"))
	if err != nil {
		return "", err
	}
	defer archive.Close()
	plain, err := gzip.NewReader(archive)
	if err != nil {
		return "", err
	}
	for files := tar.NewReader(plain); ; {
		file, err := files.Next()
		if err != nil {
			return "", fmt.Errorf("no axe.min.js in the package: %w", err)
		}
		if file.Name == "package/axe.min.js" {
			text, err := io.ReadAll(files)
			return string(text), err
		}
	}
})

// TestAxe says whether the scenes are looked at by axe-core, and that axe-core finds what is wrong.
func TestAxe(t *testing.T) {
	if _, err := axeSource(); err != nil {
		if *axeNeeded {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: accessibility was not looked at: %v", err)
	}
	p := sharedNode(t, 1).open(t, "/ui/", look{})
	eval[chromedp.Void](p, `document.body.append(Object.assign(document.createElement("img"), { src: "/ui/icon.svg" }))`)
	if found := p.violations(); !strings.Contains(fmt.Sprint(found), "image-alt") {
		t.Errorf("an image without a text was not found: %q", found)
	}
}

// axe fails the test for each rule of WCAG 2.2 AA, and of axe-core's best practices, that the page breaks.
func (p *tab) axe() {
	p.t.Helper()
	if _, err := axeSource(); err != nil {
		if *axeNeeded {
			p.t.Fatal(err)
		}
		return // TestAxe says so
	}
	for _, v := range p.violations() {
		p.t.Errorf("axe-core: %s", v)
	}
}

func (p *tab) violations() []string {
	p.t.Helper()
	source, err := axeSource()
	if err != nil {
		p.t.Fatal(err)
	}
	if !eval[bool](p, `"axe" in window`) {
		eval[chromedp.Void](p, source)
	}
	return eval[[]string](p, `axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.map((v) =>
		v.id + " (" + v.impact + "): " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + (n.any[0]?.message ?? n.all[0]?.message ?? n.none[0]?.message ?? "")).join(" | ")))`)
}
