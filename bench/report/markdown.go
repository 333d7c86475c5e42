package report

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Publish replaces what stands between these markers. People write what stands around them.
const (
	Begin = "<!-- bench:begin -->"
	End   = "<!-- bench:end -->"
)

// Publish puts the tables into page, between the markers, and the plots as SVG into the directory plots,
// to which the page links. A page without markers gets them at its end.
func (r *Run) Publish(page, plots string) error {
	text, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	link, err := filepath.Rel(filepath.Dir(page), plots)
	if err != nil {
		return err
	}
	spliced, err := Splice(string(text), r.Markdown(filepath.ToSlash(link)))
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, s := range r.Scenarios {
		for _, p := range s.Plots {
			if err := os.WriteFile(filepath.Join(plots, p.Name+".svg"), []byte(p.SVG()), 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(page, []byte(spliced), 0o644)
}

// Splice replaces what stands between the markers in text.
func Splice(text, between string) (string, error) {
	begins, ends := strings.Count(text, Begin), strings.Count(text, End)
	if begins == 0 && ends == 0 {
		if text != "" {
			text = strings.TrimRight(text, "\n") + "\n\n"
		}
		return text + Begin + "\n" + between + End + "\n", nil
	}
	before, rest, _ := strings.Cut(text, Begin)
	_, after, closed := strings.Cut(rest, End)
	if begins != 1 || ends != 1 || !closed {
		return "", fmt.Errorf("needs one %s and after it one %s, or neither", Begin, End)
	}
	return before + Begin + "\n" + between + End + after, nil
}

// Markdown shows the run; plots is where its images are, as the page links to them.
func (r *Run) Markdown(plots string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## Side by side\n\nMade by `make bench-peers` on %s, in %s, from %s. A figure is the median of the rounds, with their range; contestants take turns within every round. A ratio is Rollcall's figure over the peer's, the median of the rounds' ratios: absolute figures drift with the machine.\n\n",
		r.Started.UTC().Format(time.DateOnly), r.Took, r.Commit)
	fmt.Fprintf(&b, "- Machine: %s, %d cores, %.0f GiB, Linux %s, %s; 4 KiB and fdatasync: median %.0f µs, p99 %.0f µs.\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryGiB, r.Machine.Kernel, r.Machine.Go, r.Machine.FdatasyncMedianMicros, r.Machine.FdatasyncP99Micros)
	fmt.Fprintf(&b, "- Versions: %s.\n", pairs(r.Versions, " "))
	fmt.Fprintf(&b, "- Settings: %s.\n", pairs(r.Settings, ": "))
	r.verdicts(&b)
	for _, s := range r.Scenarios {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", s.Title, s.About)
		if s.Failed != "" {
			fmt.Fprintf(&b, "\n**It did not end:** %s\n", s.Failed)
		}
		s.table(&b)
		for _, n := range s.Notes {
			fmt.Fprintf(&b, "\n- %s", n)
		}
		if len(s.Notes) > 0 {
			b.WriteString("\n")
		}
		for _, p := range s.Plots {
			fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n", p.Title, plots, p.Name)
			p.table(&b)
		}
	}
	b.WriteString("\n")
	return b.String()
}

func (r *Run) verdicts(b *strings.Builder) {
	counts := map[Verdict]int{}
	for _, s := range r.Scenarios {
		for _, row := range s.Rows {
			counts[row.Verdict()]++
		}
	}
	fmt.Fprintf(b, "- Of the figures with a bar, %d pass (%d of them reach further), %d fail", counts[Pass]+counts[Reached], counts[Reached], counts[Fail])
	if n := counts[Unmeasured]; n > 0 {
		fmt.Fprintf(b, ", %d were not measured", n)
	}
	b.WriteString(".\n")
}

func pairs(m map[string]string, between string) string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s = append(s, k+between+m[k])
	}
	return strings.Join(s, " · ")
}

func (s *Scenario) table(b *strings.Builder) {
	var peers []string // columns
	for _, r := range s.Rows {
		for _, series := range r.Series[min(1, len(r.Series)):] {
			if !slices.Contains(peers, series.Who) {
				peers = append(peers, series.Who)
			}
		}
	}
	if len(s.Rows) == 0 {
		return
	}
	b.WriteString("\n| work | unit | Rollcall |")
	for _, p := range peers {
		fmt.Fprintf(b, " %s |", p)
	}
	b.WriteString(" ratio | bar | reach for | |\n|---|---|---|" + strings.Repeat("---|", len(peers)+4) + "\n")
	for _, r := range s.Rows {
		fmt.Fprintf(b, "| %s | %s | %s |", r.Work, r.Unit, figure(r.Ours()))
		for _, p := range peers {
			cell := ""
			for i, series := range r.Series {
				if i > 0 && series.Who == p {
					cell = figure(series.Values)
				}
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		fmt.Fprintf(b, " %s | %s | %s | %s |\n", r.ratios(peers), r.Bar.text(false), r.Bar.text(true), r.Verdict())
	}
}

// table shows what the plot does, and the ratio of its first line to its second.
func (p *Plot) table(b *strings.Builder) {
	if len(p.Series) == 0 {
		return
	}
	fmt.Fprintf(b, "\n| %s |", p.X)
	for _, l := range p.Series {
		fmt.Fprintf(b, " %s, %s |", l.Who, p.Y)
	}
	b.WriteString(" ratio |\n|" + strings.Repeat("---|", len(p.Series)+2) + "\n")
	for _, at := range p.Series[0].Points {
		fmt.Fprintf(b, "| %s |", Number(at.X))
		var q []float64
		for i, l := range p.Series {
			values := l.at(at.X)
			fmt.Fprintf(b, " %s |", figure(values))
			if i == 1 {
				q = Ratios(at.Values, values)
			}
		}
		ratio := ""
		if len(q) > 0 {
			ratio = figure(q) + "×"
		}
		fmt.Fprintf(b, " %s |\n", ratio)
	}
}

// ratios are those to every peer that was measured; a series of ours under another name is none.
func (r *Row) ratios(columns []string) string {
	var s []string
	for i := 1; i < len(r.Series); i++ {
		q := Ratios(r.Ours(), r.Series[i].Values)
		if len(q) == 0 || strings.HasPrefix(r.Series[i].Who, r.Series[0].Who) {
			continue
		}
		t := figure(q) + "×"
		if len(columns) > 1 && len(r.Series) > 2 {
			t += " " + r.Series[i].Who
		}
		s = append(s, t)
	}
	return strings.Join(s, ", ")
}

func (b *Bar) text(reach bool) string {
	if b == nil || reach && b.Reach == 0 {
		return ""
	}
	v, sign, unit := b.Limit, "≤", ""
	if reach {
		v = b.Reach
	}
	if b.AtLeast {
		sign = "≥"
	}
	if b.Ratio {
		unit = "×"
	}
	return sign + " " + Number(v) + unit
}

func figure(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	m := Number(Median(values))
	least, greatest := Range(values)
	low, high := Number(least), Number(greatest)
	if low == m && high == m {
		return m
	}
	return fmt.Sprintf("%s (%s–%s)", m, low, high)
}

// Number shows v to three significant digits, with commas between thousands.
func Number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	scale := math.Pow(10, float64(digits))
	v = math.Round(v*scale) / scale
	s := strconv.FormatFloat(v, 'f', max(digits, 0), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	whole, fraction, broken := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if broken {
		whole += "." + fraction
	}
	return sign + whole
}
