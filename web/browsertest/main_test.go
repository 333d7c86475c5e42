package browsertest_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

var (
	program     = flag.String("rollcall", "", "the program to run; default: it is built")
	browserPath = flag.String("browser", "", "the browser; default: Debian's chromium-headless-shell or chromium")
	pictures    = flag.String("pictures", "", "directory that gets the pictures; default: a temporary one that stays")
	performance = flag.Bool("performance", false, "run what measures, too; it takes more than ten minutes")
	few         = flag.Bool("few", false, "show the dark look at 1,000 services only, and nothing at 200 %")
	axeNeeded   = flag.Bool("axe", false, "fail if axe-core cannot be had; default: skip what needs it")
)

// browser is the one that all tests use; each page has a profile of its own in it.
var browser context.Context

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	path := findBrowser()
	if path == "" {
		fmt.Println("SKIPPED: no chromium-headless-shell and no chromium is installed, so nothing was tested: apt-get install chromium-headless-shell")
		return 0
	}
	dir, err := os.MkdirTemp("", "rollcall-browsertest-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	defer stopShared()
	if *program == "" {
		*program = filepath.Join(dir, "rollcall")
		build := exec.Command("go", "build", "-o", *program, "./cmd/rollcall")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Printf("go build: %v\n%s", err, out)
			return 1
		}
	}
	if *pictures == "" {
		if *pictures, err = os.MkdirTemp("", "rollcall-pictures-"); err != nil {
			fmt.Println(err)
			return 1
		}
	} else if err := os.MkdirAll(*pictures, 0o755); err != nil {
		fmt.Println(err)
		return 1
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, // nodes with TLS have a CA of their own
		chromedp.UserDataDir(filepath.Join(dir, "profile")), chromedp.WindowSize(wide, high),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("enable-precise-memory-info", true),
		chromedp.Flag("js-flags", "--expose-gc"),
	)...)
	defer cancel()
	var end context.CancelFunc
	browser, end = chromedp.NewContext(allocator)
	defer end()
	if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
		fmt.Printf("%s does not start: %v\n", path, err)
		return 1
	}
	code := m.Run()
	fmt.Println("pictures are in", *pictures)
	return code
}

func findBrowser() string {
	for _, name := range []string{*browserPath, "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
