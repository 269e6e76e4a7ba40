"""Names of LaTeX commands, without the backslash: LaTeX itself, amsmath, amssymb, mathtools, siunitx and MathJax."""

from __future__ import annotations

import re

_CONTROL = """
backepsilon backprime backsim backsimeq backslash bar barwedge bbox because begin begingroup beta beth between bf
bfseries bgroup bib bibitem big bigcap bigcirc bigcup bigg biggl biggm biggr bigl bigm bigodot bigoplus bigotimes bigr
bigskip bigsqcup bigstar bigtriangledown bigtriangleup biguplus bigvee bigwedge binom blacklozenge blacksquare
blacktriangle blacktriangledown blacktriangleleft blacktriangleright bm bmatrix bmod bold boldmath boldsymbol bot
bowtie box boxdot boxed boxminus boxplus boxtimes bra brace bracevert brack braket breve buildrel bullet bumpeq

fallingdotseq fbox fcolon fcolorbox fill fint flat flushleft flushright fontsize footnote footnotesize forall frac
frak framebox frown

nabla natural ncong ne nearrow neg negmedspace negthickspace negthinspace neq newcommand newenvironment newline
newpage nexists ngeq ngeqq ngeqslant ngtr ni nicefrac nLeftarrow nleftarrow nLeftrightarrow nleftrightarrow nleq nleqq
nleqslant nless nmid nobreak nobreakspace nocite noindent nolimits nolinebreak nonumber norm normalfont normalsize not
notag notin nparallel nprec npreceq nRightarrow nrightarrow nshortmid nshortparallel nsim nsubseteq nsubseteqq nsucc
nsucceq nsupseteq nsupseteqq ntriangleleft ntrianglelefteq ntriangleright ntrianglerighteq nu null num numberwithin
nVDash nVdash nvDash nvdash nwarrow

raise raisebox rangle rank ratio rbrace rbrack rceil ref renewcommand require restriction rfloor rgroup rhd rho right
rightarrow rightarrowtail rightharpoondown rightharpoonup rightleftarrows rightleftharpoons rightline rightrightarrows
rightsquigarrow rightthreetimes risingdotseq rlap rm rmfamily rmoustache root rotatebox rq rtimes rule rVert rvert

tabular tag tan tanh tau tbinom tensor text textasciicircum textasciitilde textasteriskcentered textbackslash textbar
textbf textbraceleft textbraceright textbullet textcircled textcolor textcopyright textdagger textdegree textdollar
textellipsis textemdash textendash texteuro textgreater textit textless textmd textminus textmu textnormal textohm
textonehalf textperiodcentered textpm textquotedblleft textquotedblright textrm textsc textsf textsl textstyle
textsubscript textsuperscript texttimes texttrademark texttt textunderscore textup textwidth tfrac therefore theta
thetasym thickapprox thicksim thickspace thinspace thispagestyle tilde times tiny title to top tr triangle
triangledown triangleleft trianglelefteq triangleq triangleright trianglerighteq tt ttfamily twocolumn
twoheadleftarrow twoheadrightarrow

ulcorner unboldmath underbar underbrace underbracket underleftarrow underleftrightarrow underline underparen
underrightarrow underset unicode unit units unlhd unrhd upalpha uparrow upbeta updelta updownarrow upgamma
upharpoonleft upharpoonright uplus upmu uppercase uppi upsilon upuparrows urcorner usepackage
"""

_OTHER = """
aleph alpha angle approx arccos arcsin arctan arg array ast asymp cancel cancelto cap cases cdot cdots ceil centering
cfrac chi choose circ cline colon complement cong coprod cos cosh cot coth csc cup dagger date dbinom ddot ddots deg
degree Delta delta det dfrac diamond dim displaystyle div dot doteq dots dotsb dotsc dotsm Downarrow downarrow ell
emph emptyset end epsilon equiv eta exists exp Gamma gamma gcd ge geq geqslant gets gg hat hbar hfill hline hom
hookrightarrow hphantom hspace iff iiint iint Im implies in inf infty int intercal iota item kappa ker label Lambda
lambda land langle lbrace lbrack lceil ldotp ldots le left Leftarrow leftarrow Leftrightarrow leftrightarrow leq
leqslant lfloor lg lim liminf limits limsup ll ln log Longrightarrow longrightarrow lor lvert lVert mapsto mathbb
mathbf mathcal mathfrak mathit mathop mathrel mathring mathrm mathsf mathtt max mbox measuredangle mid middle min mod
models mp mu multicolumn odot oint Omega omega operatorname oplus oslash otimes over overbrace overleftarrow overline
overrightarrow overset parallel partial perp phantom Phi phi Pi pi pm pmatrix pmod Pr prec preceq prime prod propto
Psi psi qquad quad Re Rightarrow sec setminus si SI Sigma sigma sim simeq sin sinh small smallskip smile space
sphericalangle sqcap sqcup sqrt square stackrel star subset subseteq substack succ succeq sum sup supset supseteq surd
swarrow Theta Uparrow Upsilon varepsilon varnothing varphi varpi varrho varsigma vartheta vdots vec vee Vert vert
vspace wedge widehat widetilde wp wr Xi xi xrightarrow zeta
"""

CONTROL_NAMES = frozenset(_CONTROL.split())
"""Names whose first character makes a valid JSON escape of their backslash: b, f, n, r, t, and u for ``\\uXXXX``."""

NAMES = CONTROL_NAMES | frozenset(_OTHER.split())
"""All names of this module. Names of other first characters are only counted, so that the common ones suffice."""

NAME = re.compile("[A-Za-z]+")
"""A command name reaches to the first character that is not an ASCII letter."""
