package graph

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestTextGolden(t *testing.T) {
	golden(t, "notes.txt", textOf(t, notes(), TextOptions{Width: 80}))
	golden(t, "notes-ascii.txt", textOf(t, notes(), TextOptions{Width: 60, ASCII: true}))
	golden(t, "notes-colour.txt", textOf(t, notes(), TextOptions{Color: true}))
	golden(t, "crowded.txt", textOf(t, crowded(), TextOptions{Width: 72}))
	golden(t, "evil.txt", textOf(t, evil(), TextOptions{Width: 80}))
	golden(t, "crooked.txt", textOf(t, crooked(), TextOptions{}))
	golden(t, "empty.txt", textOf(t, Graph{Store: "empty"}, TextOptions{}))
	golden(t, "deep.txt", textOf(t, deep(14), TextOptions{Width: 60}))
}

func TestTextIsSoundWhateverIsDrawn(t *testing.T) {
	for _, g := range graphs {
		for _, o := range []TextOptions{{}, {Width: 1}, {Width: 80}, {Width: 133, Color: true}, {Width: 50, ASCII: true}} {
			text := textOf(t, g.graph, o)
			checkText(t, g.graph, o, text)
			if text != textOf(t, g.graph, o) {
				t.Errorf("%s: drawn twice it differs", g.name)
			}
		}
	}
}

// failer is a test, or one of many of a property.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Error(args ...any)
	Fatalf(format string, args ...any)
}

// checkText: nothing but printable characters, no line too wide, every name there.
func checkText(t failer, g Graph, o TextOptions, text string) {
	t.Helper()
	for _, s := range []string{faint, bold, tagStyle, holdStyle, nowStyle, "0"} {
		if o.Color {
			text = strings.ReplaceAll(text, "\x1b["+s+"m", "")
		}
	}
	if !utf8.ValidString(text) {
		t.Errorf("not UTF-8")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := width(line); o.Width != 0 && n > max(o.Width, MinWidth) {
			t.Errorf("%d columns wide, want %d: %q", n, o.Width, line)
		}
		for _, r := range line {
			if !unicode.IsPrint(r) && r != '\u200e' || o.ASCII && r > 0x7e {
				t.Errorf("%q in %q", r, line)
			}
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("spaces at the end of %q", line)
		}
	}
	name := printable
	if o.ASCII {
		name = ascii
	}
	if o.Width == 0 { // a narrower one breaks long names
		for _, n := range namesOf(g) {
			if !strings.Contains(text, name(n)) {
				t.Errorf("%q is not there", n)
			}
		}
	}
}

// namesOf lists all that must be found in a drawing.
func namesOf(g Graph) (names []string) {
	add := func(hs []Hold) {
		for _, h := range hs {
			names = append(names, h.Kind)
			if h.Owner != "" {
				names = append(names, h.Owner)
			}
		}
	}
	names = append(names, g.Store)
	add(g.Holds)
	for _, l := range g.Lineages {
		if l.Volume != "" {
			names = append(names, l.Volume)
		} else if l.UUID != "" {
			names = append(names, l.UUID)
		}
		for _, t := range l.Tips {
			names = append(names, t.Tags...)
			add(t.Holds)
		}
	}
	return names
}

// A name that is broken over lines is still there, piece by piece.
func TestTextBreaksLongNames(t *testing.T) {
	long := strings.Repeat("abcdefghij", 25)
	g := Graph{Store: "s", Lineages: []Lineage{{Volume: long, Tips: []Tip{{LSN: 1, Tags: []string{long}}, {LSN: 2, Current: true}}}}}
	text := textOf(t, g, TextOptions{Width: 60})
	joined := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'j' {
			return r
		}
		return -1
	}, text)
	if strings.Count(joined, long) != 2 {
		t.Errorf("the name is not there twice:\n%s", text)
	}
}

func TestTextTellsOfAFullDisk(t *testing.T) {
	if err := Text(fullDisk{}, notes(), TextOptions{}); !errors.Is(err, errFull) {
		t.Errorf("Text: %v", err)
	}
}

var errFull = errors.New("full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func FuzzText(f *testing.F) {
	for _, n := range hostile {
		f.Add(n, "tag", 80, false)
		f.Add("name", n, 40, true)
	}
	f.Fuzz(func(t *testing.T, name, tag string, width int, plain bool) {
		o := TextOptions{Width: width % 300, ASCII: plain}
		if o.Width < 0 {
			o.Width = -o.Width
		}
		g := fuzzed(name, tag)
		checkText(t, g, o, textOf(t, g, o))
	})
}

func fuzzed(name, tag string) Graph {
	return Graph{Store: name, Head: 9, Holds: []Hold{{"consumer", tag, 2}}, Lineages: []Lineage{
		{Volume: name, Tips: []Tip{{LSN: 3, Tags: []string{tag, name, tag}, Holds: []Hold{{name, tag, 3}}}, {LSN: 9, Current: true, Tags: []string{tag}}}},
		{Volume: tag, UUID: name, ForkedFrom: &Point{0, 3}, Tips: []Tip{{LSN: 4, Current: true, Tags: []string{name}}}},
		{Volume: "x" + name, UUID: tag, ForkedFrom: &Point{1, 4}, Tips: []Tip{{LSN: 4, Current: true}}},
	}}
}

func BenchmarkText500(b *testing.B) {
	g := many(500)
	for b.Loop() {
		_ = Text(io.Discard, g, TextOptions{Width: 100})
	}
}
