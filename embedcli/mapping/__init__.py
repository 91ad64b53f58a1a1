"""A map of the words of a table: places, exact neighbours, and what words are coloured by."""

from embedcli.mapping.attributes import Attribute as Attribute
from embedcli.mapping.build import Arrangement as Arrangement
from embedcli.mapping.build import Frame as Frame
from embedcli.mapping.build import Map as Map
from embedcli.mapping.build import MapPair as MapPair
from embedcli.mapping.build import Source as Source
from embedcli.mapping.build import check_words as check_words
from embedcli.mapping.build import map_pair as map_pair
from embedcli.mapping.build import map_words as map_words
