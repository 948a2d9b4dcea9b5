package archtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what the rules look at, named relative to the module's root.
type pkg struct {
	path    string
	name    string
	doc     string
	imports []string // of the program, not of its tests; this module's begin with its path
}

func (p pkg) String() string { return cmp.Or(p.path, "the root package") }

var root = filepath.Join("..", "..")

// load lists the packages of the module.
func load(t *testing.T) (pkgs []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Doc,Imports,GoFiles", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l struct {
			ImportPath, Name, Doc string
			Imports, GoFiles      []string
		}
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(l.GoFiles) == 0 {
			continue // tests alone
		}
		rel, _ := strings.CutPrefix(l.ImportPath, module)
		pkgs = append(pkgs, pkg{path: strings.TrimPrefix(rel, "/"), name: l.Name, doc: l.Doc, imports: l.Imports})
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list found only %d packages:\n%s", len(pkgs), out)
	}
	return pkgs
}

// checkFiles checks all Go files of the repository, those of other modules and
// other systems too. Walking the folders here also tells the cache of go test
// that the result depends on them.
func checkFiles(t *testing.T) (problems []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && file != root:
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(file) != ".go":
			return nil
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		problems = append(problems, checkFile(filepath.ToSlash(name), src)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

func TestThisModuleKeepsTheRules(t *testing.T) {
	for _, problem := range slices.Concat(checkPackages(load(t)), checkFiles(t)) {
		t.Error(problem)
	}
}

// checkPackages returns a line for each rule that is broken.
func checkPackages(pkgs []pkg) (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, p := range pkgs {
		from, ok := layerOf(p.path)
		if !ok {
			report("%s: the folder is in no layer; say in rules_test.go to which it belongs", p)
			continue
		}
		if slices.Contains(bannedNames, p.name) || slices.Contains(bannedNames, path.Base(p.path)) {
			report("%s: the name %q says nothing; name the package after what it is about", p, p.name)
		}
		if p.doc == "" {
			report("%s: there is no package comment; say what it is for and what it promises", p)
		}
		for _, imported := range p.imports {
			if to, ok := strings.CutPrefix(imported, module); ok {
				if problem := checkImport(p, from, strings.TrimPrefix(to, "/")); problem != "" {
					report("%s", problem)
				}
				continue
			}
			if problem := checkLibrary(p, from, imported); problem != "" {
				report("%s", problem)
			}
		}
	}
	for _, s := range small {
		for _, linked := range reached(pkgs, s.program) {
			if slices.ContainsFunc(s.without, func(folder string) bool { return within(linked, folder) }) {
				report("%s links %s: %s", s.program, linked, s.reason)
			}
		}
	}
	if chain := longestChain(pkgs); len(chain)-1 > maxDepth {
		report("a chain of %d imports, %d are allowed: %s", len(chain)-1, maxDepth, strings.Join(chain, " → "))
	}
	return problems
}

// layerOf returns the layer of a folder: that of the nearest folder above that
// has one. Folders called …test and what is below them are for tests.
func layerOf(folder string) (layer, bool) {
	for part := range strings.SplitSeq(folder, "/") {
		if strings.HasSuffix(part, "test") || part == "testdata" {
			return support, true
		}
	}
	if folder == "" {
		return layers[""], true
	}
	for at := folder; at != "."; at = path.Dir(at) {
		if l, ok := layers[at]; ok {
			return l, true
		}
		if l, ok := layers[path.Dir(at)+"/*"]; ok {
			return l, true
		}
	}
	return "", false
}

func checkImport(p pkg, from layer, to string) string {
	target, ok := layerOf(to)
	if !ok {
		return "" // reported where the package itself is looked at
	}
	if slices.Contains(imports[from].may, target) {
		return ""
	}
	for _, s := range sideways {
		if s.from == p.path && s.to == to {
			return ""
		}
	}
	if target == support {
		return fmt.Sprintf("%s imports %s, which is for tests only", p, to)
	}
	return fmt.Sprintf("%s (%s) imports %s (%s): %s may import only %s; %s",
		p, from, cmp.Or(to, "the root package"), target, from, list(imports[from].may), imports[from].reason)
}

func list(layers []layer) string {
	if len(layers) == 0 {
		return "nothing of this module"
	}
	var s []string
	for _, l := range layers {
		s = append(s, string(l))
	}
	return strings.Join(s, ", ")
}

func checkLibrary(p pkg, from layer, library string) string {
	if from == support {
		return ""
	}
	if first, _, _ := strings.Cut(library, "/"); from == words && strings.Contains(first, ".") && !slices.Contains(wordsLibraries, library) {
		return fmt.Sprintf("the root package imports %s: beyond the standard library it may import only %s", library, strings.Join(wordsLibraries, ", "))
	}
	for _, tech := range technologies {
		if !within(library, tech.library) {
			continue
		}
		if !slices.ContainsFunc(tech.users, func(user string) bool { return within(p.path, user) }) {
			return fmt.Sprintf("%s imports %s: only %s may; %s", p, library, strings.Join(tech.users, " and "), tech.reason)
		}
	}
	return ""
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// reached returns the packages of the module that a package imports, directly or
// not.
func reached(pkgs []pkg, from string) []string {
	byPath := map[string]pkg{}
	for _, p := range pkgs {
		byPath[p.path] = p
	}
	seen := map[string]bool{}
	var visit func(at string)
	visit = func(at string) {
		for _, imported := range byPath[at].imports {
			to, ok := strings.CutPrefix(imported, module+"/")
			if ok && !seen[to] {
				seen[to] = true
				visit(to)
			}
		}
	}
	visit(from)
	return slices.Sorted(maps.Keys(seen))
}

// longestChain returns the longest chain of imports inside the module that
// starts at a program.
func longestChain(pkgs []pkg) []string {
	byPath := map[string]pkg{}
	for _, p := range pkgs {
		byPath[p.path] = p
	}
	longest := map[string][]string{}
	var visit func(p pkg) []string
	visit = func(p pkg) []string {
		if chain, ok := longest[p.path]; ok {
			return chain
		}
		var below []string
		for _, imported := range p.imports {
			to, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			if next, ok := byPath[strings.TrimPrefix(to, "/")]; ok {
				if chain := visit(next); len(chain) > len(below) {
					below = chain
				}
			}
		}
		chain := append([]string{p.String()}, below...)
		longest[p.path] = chain
		return chain
	}
	var deepest []string
	for _, name := range slices.Sorted(maps.Keys(byPath)) {
		if l, _ := layerOf(name); l == program {
			if chain := visit(byPath[name]); len(chain) > len(deepest) {
				deepest = chain
			}
		}
	}
	return deepest
}
