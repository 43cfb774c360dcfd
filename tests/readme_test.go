package tests

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadmeProgram holds the program in README to the package's example, which
// is compiled and run: same imports, and main is the body of Example.
func TestReadmeProgram(t *testing.T) {
	program := fenced(t, readFile(t, "../README.md"))
	if n := bytes.Count(program, []byte("\n")); n > 40 {
		t.Errorf("the program has %d lines: it is there to be read at a glance", n)
	}
	got := programOf(t, "README.md", program, "main")
	want := programOf(t, "txn/example_test.go", readFile(t, "../txn/example_test.go"), "Example")
	for _, imp := range got.imports {
		if !slices.Contains(want.imports, imp) {
			t.Errorf("README imports %s, txn/example_test.go does not", imp)
		}
	}
	if got.body != want.body {
		t.Errorf("README's program is not Example of txn/example_test.go.\nREADME:\n%s\nExample:\n%s", got.body, want.body)
	}
}

// TestLinks follows the links to files in the top level's documents.
func TestLinks(t *testing.T) {
	for _, doc := range []string{"README.md", "ARCHITECTURE.md"} {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllSubmatch(readFile(t, filepath.Join("..", doc)), -1) {
			if _, err := os.Stat(filepath.Join("..", string(m[1]))); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fenced is the first Go code in a document.
func fenced(t *testing.T, doc []byte) []byte {
	t.Helper()
	_, rest, found := bytes.Cut(doc, []byte("```go\n"))
	code, _, closed := bytes.Cut(rest, []byte("```\n"))
	if !found || !closed {
		t.Fatal("README.md has no Go code")
	}
	return code
}

type program struct {
	imports []string
	body    string // without the comment that holds an example's output
}

// programOf takes a function and the imports from a file.
func programOf(t *testing.T, name string, src []byte, function string) program {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var p program
	for _, imp := range f.Imports {
		p.imports = append(p.imports, unquote(imp.Path.Value))
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Name.Name != function || fn.Recv != nil {
			continue
		}
		body := string(src[fset.Position(fn.Body.Lbrace).Offset:fset.Position(fn.Body.Rbrace).Offset])
		body, _, _ = strings.Cut(body, "// Output:")
		formatted, err := format.Source([]byte(strings.TrimPrefix(body, "{")))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p.body = strings.TrimSpace(string(formatted))
		return p
	}
	t.Fatalf("%s has no function %s", name, function)
	return p
}
