package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedianAndRange(t *testing.T) {
	for name, c := range map[string]struct {
		values             []float64
		median, low, great float64
	}{
		"none":  {nil, 0, 0, 0},
		"one":   {[]float64{3}, 3, 3, 3},
		"odd":   {[]float64{9, 1, 4}, 4, 1, 9},
		"even":  {[]float64{8, 2, 4, 6}, 5, 2, 8},
		"minus": {[]float64{-2, -1, -3}, -2, -3, -1},
	} {
		low, great := Range(c.values)
		if m := Median(c.values); m != c.median || low != c.low || great != c.great {
			t.Errorf("%s: median %v range %v–%v, want %v, %v–%v", name, m, low, great, c.median, c.low, c.great)
		}
	}
	unsorted := []float64{3, 1, 2}
	Median(unsorted)
	if unsorted[0] != 3 {
		t.Error("Median sorted what it was given")
	}
}

func TestQuantile(t *testing.T) {
	var hundred []int
	for i := range 100 {
		hundred = append(hundred, i+1)
	}
	for q, want := range map[float64]int{0: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		if got := Quantile(hundred, q); got != want {
			t.Errorf("quantile %v of 1 to 100 is %d, want %d", q, got, want)
		}
	}
	if got := Quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("of none: %d", got)
	}
}

func TestVerdict(t *testing.T) {
	row := func(bar *Bar, ours, theirs []float64) *Row {
		r := &Row{Bar: bar}
		for _, v := range ours {
			r.Add("Rollcall", v)
		}
		for _, v := range theirs {
			r.Add("etcd", v)
		}
		return r
	}
	for name, c := range map[string]struct {
		row  *Row
		want Verdict
	}{
		"no bar":             {row(nil, []float64{1}, []float64{1}), Informative},
		"nothing":            {row(RatioAtLeast(1, 0), nil, nil), Unmeasured},
		"no peer":            {row(RatioAtLeast(1, 0), []float64{5}, nil), Unmeasured},
		"as good":            {row(RatioAtLeast(1, 1.15), []float64{5}, []float64{5}), Pass},
		"better":             {row(RatioAtLeast(1, 1.15), []float64{6}, []float64{5}), Reached},
		"nothing to reach":   {row(RatioAtLeast(1, 0), []float64{6}, []float64{5}), Pass},
		"worse":              {row(RatioAtLeast(1, 1.15), []float64{4}, []float64{5}), Fail},
		"smaller is better":  {row(RatioAtMost(1, 0.7), []float64{3}, []float64{5}), Reached},
		"greater is worse":   {row(RatioAtMost(1, 0.7), []float64{6}, []float64{5}), Fail},
		"the figure":         {row(AtLeast(100, 250), []float64{120}, []float64{900}), Pass},
		"the figure at most": {row(AtMost(10, 5), []float64{11}, nil), Fail},
		"none at all":        {row(AtMost(0, 0), []float64{0}, nil), Pass},
		// Medians would say 10/10; the rounds say 2, 0.5, 0.5.
		"ratios of rounds": {row(RatioAtLeast(1, 0), []float64{20, 5, 10}, []float64{10, 10, 20}), Fail},
	} {
		if got := c.row.Verdict(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.12345: "0.123", 12.345: "12.3", 99.96: "100", 123.4: "123", 1234: "1,230", 36712: "36,700",
		1234567: "1,230,000", -1234: "-1,230", 0.0005: "0.0005", 1e9: "1,000,000,000",
	} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestSplice(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no page":    {"", Begin + "\nnew\n" + End + "\n"},
		"no markers": {"# Page\n", "# Page\n\n" + Begin + "\nnew\n" + End + "\n"},
		"replaced":   {"# Page\n" + Begin + "\nold\n" + End + "\nafter\n", "# Page\n" + Begin + "\nnew\n" + End + "\nafter\n"},
		"begin only": {"# Page\n" + Begin + "\n", ""},
		"turned":     {End + Begin, ""},
		"two":        {Begin + End + Begin + End, ""},
	} {
		got, err := Splice(c.text, "new\n")
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

func sample() *Run {
	s := &Scenario{Name: "writes", Title: "Writes", About: "How."}
	r := s.Row("64 writers", "writes/s", RatioAtLeast(1.6, 2.5), "Rollcall", "etcd", "NATS")
	for i, v := range []float64{10, 20, 30} {
		r.Add("Rollcall", v)
		r.Add("etcd", 10)
		r.Add("NATS", float64(i+1)*10)
	}
	s.Note("A %s.", "note")
	p := &Plot{Name: "writes", Title: "Writes & more", X: "services", Y: "writes/s", LogX: true}
	p.Add("Rollcall", 1000, 5)
	p.Add("Rollcall", 1000, 7)
	p.Add("Rollcall", 100000, 6)
	p.Add("etcd", 1000, 8)
	s.Plots = append(s.Plots, p)
	return &Run{Started: time.Unix(0, 0), Took: "1m", Commit: "abc", Scenarios: []*Scenario{s}}
}

func TestMarkdown(t *testing.T) {
	text := sample().Markdown("bench")
	for _, want := range []string{
		"| 64 writers | writes/s | 20 (10–30) | 10 | 20 (10–30) | 2 (1–3)× etcd, 1× NATS | ≥ 1.6× | ≥ 2.5× | pass |",
		"\n- A note.\n", "![Writes & more](bench/writes.svg)", "| services | Rollcall, writes/s | etcd, writes/s | ratio |\n|---|---|---|---|\n| 1,000 | 6 (5–7) | 8 |", "| 100,000 | 6 |  |  |",
		"1 pass (0 of them reach further), 0 fail",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestSVG(t *testing.T) {
	for _, p := range []*Plot{sample().Scenarios[0].Plots[0], {LogX: true, LogY: true}, {}} {
		svg := p.SVG()
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("not numbers:\n%s", svg)
		}
		for d := xml.NewDecoder(strings.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, svg)
			}
		}
	}
	if svg := sample().Scenarios[0].Plots[0].SVG(); !strings.Contains(svg, "Writes &amp; more") || !strings.Contains(svg, ">100k<") {
		t.Errorf("title or tick is missing:\n%s", svg)
	}
}

func TestReadAndPublish(t *testing.T) {
	dir := t.TempDir()
	first, second := sample(), sample()
	first.Scenarios = append(first.Scenarios, &Scenario{Name: "reads", Title: "Reads"})
	second.Scenarios[0].Title = "Writes again"
	var files []string
	for i, r := range []*Run{first, second} {
		files = append(files, filepath.Join(dir, string(rune('a'+i))))
		if err := r.Write(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Read(files...)
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "docs", "page.md")
	plots := filepath.Join(dir, "docs", "plots")
	if err := os.MkdirAll(plots, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it replaces
		if err := r.Publish(page, plots); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); strings.Count(s, "### Writes again") != 1 || strings.Count(s, "### Reads") != 1 || strings.Contains(s, "### Writes\n") {
		t.Errorf("page:\n%s", s)
	}
	if _, err := os.Stat(filepath.Join(plots, "writes.svg")); err != nil {
		t.Error(err)
	}
}
