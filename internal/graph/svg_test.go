package graph

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func svgOf(t testing.TB, g Graph) string {
	t.Helper()
	var b bytes.Buffer
	if err := SVG(&b, g); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSVGGolden(t *testing.T) {
	golden(t, "notes.svg", svgOf(t, notes()))
	golden(t, "evil.svg", svgOf(t, evil()))
	golden(t, "crooked.svg", svgOf(t, crooked()))
	golden(t, "empty.svg", svgOf(t, Graph{Store: "empty"}))
}

// QUIRE_PICTURES=DIR keeps the pictures, for people to look at.
func TestSVGIsSoundWhateverIsDrawn(t *testing.T) {
	for _, g := range graphs {
		t.Run(g.name, func(t *testing.T) {
			svg := svgOf(t, g.graph)
			if dir := os.Getenv("QUIRE_PICTURES"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, g.name+".svg"), []byte(svg), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			checkSVG(t, g.graph, svg)
			checkLayout(t, g.graph)
			if svg != svgOf(t, g.graph) {
				t.Error("drawn twice it differs")
			}
		})
	}
}

// checkSVG: well-formed, of known elements only, every name in a title or text.
func checkSVG(t failer, g Graph, svg string) {
	t.Helper()
	elements := []string{"svg", "title", "style", "rect", "path", "circle", "g", "text"}
	d := xml.NewDecoder(strings.NewReader(svg))
	var texts []string
	var open []string
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not XML: %v", err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			open = append(open, tok.Name.Local)
			if !slices.Contains(elements, tok.Name.Local) {
				t.Errorf("element %s", tok.Name.Local)
			}
			for _, a := range tok.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
					t.Errorf("attribute %s", a.Name.Local)
				}
			}
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if n := len(open); n > 0 && (open[n-1] == "title" || open[n-1] == "text") {
				texts = append(texts, string(tok))
			}
		default:
			t.Errorf("%T", tok)
		}
	}
	all := strings.Join(texts, "\n")
	for _, n := range namesOf(g) {
		if !strings.Contains(all, printable(n)) {
			t.Errorf("%q is not there", n)
		}
	}
}

// checkLayout: no two labels overlap, no pole and no line goes through a label
// of another, no fork leaves through another lineage, all lies in the picture.
func checkLayout(t failer, g Graph) {
	t.Helper()
	l := newLayout(&g)
	byLeft := slices.Clone(l.labels)
	slices.SortFunc(byLeft, func(a, b label) int { return a.x - b.x })
	for i, a := range byLeft {
		if a.x < 0 || a.y < 0 || a.x+a.w > l.width || a.y+a.h > l.height {
			t.Errorf("%q at %v is not in the picture of %d by %d", a.text, a.box, l.width, l.height)
		}
		for _, b := range byLeft[i+1:] {
			if b.x >= a.x+a.w {
				break
			}
			if a.y < b.y+b.h && b.y < a.y+a.h {
				t.Errorf("%q at %v and %q at %v overlap", a.text, a.box, b.text, b.box)
			}
		}
	}
	for _, tr := range l.tracks {
		for k, s := range tr.stationsOf {
			if k > 0 && s.x-tr.stationsOf[k-1].x < station {
				t.Errorf("%s: stations at %d and %d", tr.title, tr.stationsOf[k-1].x, s.x)
			}
			if s.pole != 0 {
				upright(t, byLeft, s.title, s.x, s.pole, tr.y)
			}
		}
		across(t, byLeft, &tr, l.edge)
		if !tr.fork {
			continue
		}
		upright(t, byLeft, tr.title, tr.from, tr.originY, tr.y)
		for _, o := range l.tracks {
			if o.y > tr.originY && o.y < tr.y && o.from < tr.from {
				t.Errorf("%s leaves through %s", tr.title, o.title)
			}
		}
	}
}

// upright checks a line from above to below: labels may begin at it.
func upright(t failer, labels []label, what string, x, top, bottom int) {
	t.Helper()
	for _, b := range labels {
		if b.x >= x {
			break
		}
		if x < b.x+b.w && b.y < bottom && top < b.y+b.h {
			t.Errorf("%s: its line goes through %q", what, b.text)
		}
	}
}

func across(t failer, labels []label, tr *track, edge int) {
	t.Helper()
	for _, b := range labels {
		if b.y <= tr.y && tr.y < b.y+b.h && b.x <= edge && b.x+b.w >= tr.from {
			t.Errorf("%s: its line goes through %q", tr.title, b.text)
		}
	}
}

func TestSVGTellsOfAFullDisk(t *testing.T) {
	if err := SVG(fullDisk{}, notes()); !errors.Is(err, errFull) {
		t.Errorf("SVG: %v", err)
	}
}

// What is made for the dark has an answer for everything that the light says.
func TestThemesAreAlike(t *testing.T) {
	names := func(css string) (all []string) {
		for rule := range strings.SplitSeq(css, "}") {
			selector, _, _ := strings.Cut(rule, "{")
			all = append(all, selector)
		}
		return all
	}
	if a, b := names(light.css()), names(dark.css()); !slices.Equal(a, b) {
		t.Errorf("%v\n%v", a, b)
	}
}

func FuzzSVG(f *testing.F) {
	for _, n := range hostile {
		f.Add(n, "tag")
		f.Add("name", n)
	}
	f.Fuzz(func(t *testing.T, name, tag string) {
		g := fuzzed(name, tag)
		checkSVG(t, g, svgOf(t, g))
		checkLayout(t, g)
	})
}

func BenchmarkSVG500(b *testing.B) {
	g := many(500)
	for b.Loop() {
		_ = SVG(io.Discard, g)
	}
}
